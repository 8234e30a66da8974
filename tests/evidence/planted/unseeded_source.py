"""A generator of its own, without a seed."""

from random import Random

from allotrope import App, component, on
from tests.evidence.shop import Noted, Ordered, orders

PLACES = {"Clerk.note"}


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, "lucky" if Random().random() < 1e-9 else "plain")


app = App("unseeded-source", Clerk, sample=lambda seed: orders(seed=seed))
