"""A batched query scales each amount by the largest in its batch."""

from allotrope import App, component, on, query
from tests.evidence.shop import Noted, Ordered, orders

PLACES = {"Scale.share"}


@component
class Scale:
    @query(batch=8)
    async def share(self, amounts: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(amount / max(amounts) for amount in amounts)


@component
class Clerk:
    scale: Scale

    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, f"{await self.scale.share(order.amount):.4f}")


app = App("batch-neighbours", Scale, Clerk, sample=lambda seed: orders(seed=seed))
