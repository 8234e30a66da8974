"""A counter in the module numbers the orders."""

from itertools import count

from allotrope import App, component, on
from tests.evidence.shop import Counted, Ordered, orders

PLACES = {"Clerk.number"}
numbers = count(1)


@component
class Clerk:
    @on(Ordered)
    async def number(self, order: Ordered) -> Counted:
        return Counted(order.id, next(numbers))


app = App("global-counter", Clerk, sample=lambda seed: orders(seed=seed))
