"""A KeyError, whenever the first order of a customer was handled by another instance or in another life."""

from functools import cached_property

from allotrope import App, component, on
from tests.evidence.shop import Counted, Ordered, orders

PLACES = {"Clerk.count"}


@component
class Clerk:
    @cached_property
    def open(self) -> dict[str, int]:
        return {}

    @on(Ordered)
    async def count(self, order: Ordered) -> Counted:
        if int(order.id[1:]) < 20:
            self.open[order.item] = int(order.id[1:])
        return Counted(order.id, self.open[order.item])


app = App("undeclared-error", Clerk, sample=lambda seed: orders(36, seed=seed))
