"""A row per customer, counted and answered for by a query."""

from allotrope import App, Table, component, on, query
from tests.evidence.shop import Counted, Ordered, asked


@component
class Clerk:
    totals: Table[int]

    @on(Ordered)
    async def count(self, order: Ordered) -> Counted:
        number = (await self.totals.get(order.customer) or 0) + 1
        await self.totals.put(order.customer, number)
        return Counted(order.id, number)

    @query
    async def total(self, customer: str) -> int:
        return await self.totals.get(customer) or 0


app = App("counter", Clerk, sample=lambda seed: asked("Clerk.total", "ann", "zoe", seed=seed))
