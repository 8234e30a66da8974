"""Some orders always fail, in the same way everywhere: no difference, but worth a line."""

from allotrope import App, component, on
from tests.evidence.shop import Noted, Ordered, orders


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        if order.id.endswith("3"):
            raise ValueError(f"no {order.item} left")
        return Noted(order.id, order.item)


app = App("failing", Clerk, sample=lambda seed: orders(40, seed=seed))
