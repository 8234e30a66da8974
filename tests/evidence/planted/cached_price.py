"""A query keeps the first price that it has read, under a name that does not say of when it is."""

from functools import cached_property

from allotrope import App, Last, View, component, on, query
from tests.evidence.shop import Noted, Ordered, Repriced, priced

PLACES = {"Quotes.quote"}


class Prices(View[Repriced], key="item"):
    price = Last("price")


@component
class Quotes:
    prices: Prices

    @cached_property
    def cache(self) -> dict[str, float]:
        return {}

    @query
    async def quote(self, item: str) -> float:
        if item not in self.cache:
            self.cache[item] = (await self.prices.of(item)).price or 0.0
        return self.cache[item]


@component
class Clerk:
    quotes: Quotes

    @on(Ordered)
    async def charge(self, order: Ordered) -> Noted:
        return Noted(order.id, f"{await self.quotes.quote(order.item):.2f}")


app = App("cached-price", Prices, Quotes, Clerk, sample=lambda seed: priced(seed=seed))
