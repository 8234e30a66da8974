"""A batched query whose answers do not depend on their neighbours, asked several at once by each handler."""

import asyncio

from allotrope import App, component, on, query
from tests.evidence.shop import Noted, Ordered, orders


@component
class Scale:
    @query(batch=8)
    async def weigh(self, amounts: tuple[float, ...]) -> tuple[float, ...]:
        await asyncio.sleep(0)
        return tuple(amount * 1.1 for amount in amounts)


@component
class Clerk:
    scale: Scale

    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        found = await asyncio.gather(*(self.scale.weigh(order.amount * times) for times in range(1, 4)))
        return Noted(order.id, " ".join(f"{value:.3f}" for value in found))


app = App("batched", Scale, Clerk, sample=lambda seed: orders(seed=seed))
