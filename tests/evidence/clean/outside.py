"""An answer that nobody can repeat, declared so; it reads a clock and chance of its own."""

import random
import time

from allotrope import App, component, on, query
from tests.evidence.shop import Noted, Ordered, orders


@component
class Exchange:
    @query(repeatable=False)
    async def rate(self, item: str) -> float:
        return 1.0 + random.random() + time.time() % 1.0


@component
class Clerk:
    exchange: Exchange

    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, f"{order.amount * await self.exchange.rate(order.item):.3f}")


app = App("outside", Exchange, Clerk, sample=lambda seed: orders(seed=seed))
