"""Queries that ask queries, which read a view as of the handler's own event; asked three at a time."""

import asyncio

from allotrope import App, Count, Last, View, component, on, query
from tests.evidence.shop import ITEMS, Noted, Ordered, Repriced, priced


class Prices(View[Repriced], key="item"):
    price = Last("price")
    changes = Count()


@component
class Catalogue:
    prices: Prices

    @query
    async def price(self, item: str) -> float:
        return (await self.prices.of(item)).price or 1.0


@component
class Offers:
    catalogue: Catalogue

    @query
    async def cheapest(self, items: tuple[str, ...]) -> str:
        found = await asyncio.gather(*(self.catalogue.price(item) for item in items))
        return min(zip(found, items, strict=True))[1]


@component
class Clerk:
    offers: Offers

    @on(Ordered)
    async def advise(self, order: Ordered) -> Noted:
        others = tuple(item for item in ITEMS if item != order.item)
        return Noted(order.id, await self.offers.cheapest(others))


app = App("nested", Prices, Catalogue, Offers, Clerk, sample=lambda seed: priced(seed=seed))
