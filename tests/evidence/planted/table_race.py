"""A handler, ordered by customer, reads the row of the item that any customer's order writes."""

from allotrope import App, Table, component, on
from tests.evidence.shop import Noted, Ordered, orders

PLACES = {"Clerk.note"}


@component
class Clerk:
    buyers: Table[str]

    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        before = await self.buyers.get(order.item)
        await self.buyers.put(order.item, order.customer)
        return Noted(order.id, before or "nobody")


app = App("table-race", Clerk, sample=lambda seed: orders(seed=seed))
