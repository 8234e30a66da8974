"""One component reads what another keeps in a module's dictionary."""

from allotrope import App, component, on
from tests.evidence.shop import Counted, Noted, Ordered, orders

PLACES = {"Teller.tell"}
stock: dict[str, str] = {}


@component
class Clerk:
    @on(Ordered)
    async def count(self, order: Ordered) -> Counted:
        stock[order.item] = order.id
        return Counted(order.id, 1)


@component
class Teller:
    @on(Counted)
    async def tell(self, counted: Counted) -> Noted:
        return Noted(counted.id, ",".join(stock[item] for item in sorted(stock)))


app = App("shared-global", Clerk, Teller, sample=lambda seed: orders(seed=seed))
