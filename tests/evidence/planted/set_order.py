"""The words of a set go into an event in the order of the set."""

from allotrope import App, component, on
from tests.evidence.shop import ITEMS, Noted, Ordered, orders

PLACES = {"Clerk.note"}


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, " ".join({*ITEMS, order.customer}))


app = App("set-order", Clerk, sample=lambda seed: orders(seed=seed))
