"""An id from uuid4 goes into an event."""

from uuid import uuid4

from allotrope import App, component, on
from tests.evidence.shop import Noted, Ordered, orders

PLACES = {"Clerk.note"}


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, str(uuid4()))


app = App("fresh-id", Clerk, sample=lambda seed: orders(seed=seed))
