"""One row counts the orders of all customers: read, add one, write."""

from allotrope import App, Table, component, on
from tests.evidence.shop import Ordered, orders

PLACES = {"Clerk.count"}


@component
class Clerk:
    totals: Table[int]

    @on(Ordered)
    async def count(self, order: Ordered) -> None:
        await self.totals.put("all", (await self.totals.get("all") or 0) + 1)


app = App("lost-update", Clerk, sample=lambda seed: orders(seed=seed))
