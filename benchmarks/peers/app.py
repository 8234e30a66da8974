"""The app whose component is called by another process; its units import it by its name."""

import numpy

from allotrope import App, Message, component, query
from benchmarks.forms import Features, Score
from benchmarks.peers import harness
from benchmarks.peers.harness import DEADLINE_S


class Sheet(Message):
    """An array."""

    values: numpy.ndarray


@component
class Model:
    """Answers."""

    @query(deadline_s=DEADLINE_S)
    async def predict(self, features: Features) -> Score:
        """Return a score."""
        return Score(features.f0 + features.f11, "v1")

    @query(deadline_s=DEADLINE_S)
    async def read(self, sheet: Sheet) -> float:
        """Return the sum."""
        return harness.total(sheet.values)


@component
class Other:
    """Is there so that the app has two units: one alone would be called within its process."""

    @query
    async def nothing(self) -> None:
        """Return nothing."""


app = App("hops", Model, Other)
