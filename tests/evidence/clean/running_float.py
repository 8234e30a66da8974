"""A float per customer that depends on the order of additions: within a key that order is kept."""

from allotrope import App, Table, component, on
from tests.evidence.shop import Noted, Ordered, orders


@component
class Clerk:
    averages: Table[float]

    @on(Ordered)
    async def smooth(self, order: Ordered) -> Noted:
        before = await self.averages.get(order.customer)
        now = order.amount if before is None else 0.9 * before + 0.1 * order.amount
        await self.averages.put(order.customer, now)
        return Noted(order.id, repr(now))


app = App("running-float", Clerk, sample=lambda seed: orders(seed=seed))
