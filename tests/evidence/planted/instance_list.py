"""A list in the instance remembers what a customer has ordered; even the order of keys cannot disturb it."""

from functools import cached_property

from allotrope import App, component, on
from tests.evidence.shop import Counted, Ordered, orders

PLACES = {"Clerk.count"}


@component
class Clerk:
    @cached_property
    def seen(self) -> dict[str, list[str]]:
        return {}

    @on(Ordered)
    async def count(self, order: Ordered) -> Counted:
        mine = self.seen.setdefault(order.customer, [])
        mine.append(order.id)
        return Counted(order.id, len(mine))


app = App("instance-list", Clerk, sample=lambda seed: orders(seed=seed))
