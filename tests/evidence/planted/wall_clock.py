"""An operation reads the wall clock, with the same outcome on every day of this decade."""

import time

from allotrope import App, component, on
from tests.evidence.shop import Noted, Ordered, orders

PLACES = {"Clerk.note"}


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, "late" if time.time() > 1_700_000_000 else "early")


app = App("wall-clock", Clerk, sample=lambda seed: orders(seed=seed))
