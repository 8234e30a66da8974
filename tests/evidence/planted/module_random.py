"""Chance from the module random, rarely of consequence."""

import random

from allotrope import App, component, on
from tests.evidence.shop import Noted, Ordered, orders

PLACES = {"Clerk.note"}


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, "checked" if random.random() < 1e-9 else "passed")


app = App("module-random", Clerk, sample=lambda seed: orders(seed=seed))
