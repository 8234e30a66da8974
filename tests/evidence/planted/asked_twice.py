"""A query counts how often it was asked."""

from functools import cached_property

from allotrope import App, component, on, query
from tests.evidence.shop import Counted, Ordered, orders

PLACES = {"Numbers.next"}


@component
class Numbers:
    @cached_property
    def counts(self) -> dict[str, int]:
        return {}

    @query
    async def next(self, customer: str) -> int:
        self.counts[customer] = self.counts.get(customer, 0) + 1
        return self.counts[customer]


@component
class Clerk:
    numbers: Numbers

    @on(Ordered)
    async def count(self, order: Ordered) -> Counted:
        return Counted(order.id, await self.numbers.next(order.customer))


app = App("asked-twice", Numbers, Clerk, sample=lambda seed: orders(seed=seed))
