"""What is asked at the same time is collected in the order in which the answers come."""

import asyncio

from allotrope import App, component, on, query
from tests.evidence.shop import ITEMS, Noted, Ordered, orders

PLACES = {"Clerk.note"}


@component
class Prices:
    @query
    async def of(self, item: str) -> str:
        return f"{item}:{len(item)}"


@component
class Clerk:
    prices: Prices

    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        found: list[str] = []

        async def look(item: str) -> None:
            found.append(await self.prices.of(item))

        await asyncio.gather(*(look(item) for item in ITEMS))
        return Noted(order.id, " ".join(found))


app = App("gathered", Prices, Clerk, sample=lambda seed: orders(seed=seed))
