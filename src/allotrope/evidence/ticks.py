"""Ticks of virtual time: which periods of an app's `every` operations pass between two inputs."""

from collections.abc import Iterator
from datetime import timedelta

from allotrope.kernel.components import App


class Ticks:
    """Follows a clock that only moves forward."""

    def __init__(self, app: App) -> None:
        """Collect the periods of `app`, in microseconds."""
        every = [o for component in app.components.values() for o in component.operations]
        self._periods = [
            (o.title, o.period // timedelta(microseconds=1)) for o in every if o.period is not None
        ]
        self._reached = 0

    def due(self, at: int) -> Iterator[tuple[str, int]]:
        """Yield (title, moment) of the ticks since the last call, in order of time; the first has none."""
        before, self._reached = self._reached or at, max(at, self._reached)
        due = [(n * p, title) for title, p in self._periods for n in range(before // p + 1, at // p + 1)]
        yield from ((title, moment) for moment, title in sorted(due))
