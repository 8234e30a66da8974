"""The identity of an object goes into an event."""

from allotrope import App, component, on
from tests.evidence.shop import Counted, Ordered, orders

PLACES = {"Clerk.count"}


@component
class Clerk:
    @on(Ordered)
    async def count(self, order: Ordered) -> Counted:
        return Counted(order.id, id(self) % 1_000_003)


app = App("object-id", Clerk, sample=lambda seed: orders(seed=seed))
