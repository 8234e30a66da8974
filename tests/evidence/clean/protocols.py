"""A dependency by its face: whoever has such a query fills the field."""

from typing import Protocol

from allotrope import App, component, on, query
from tests.evidence.shop import Noted, Ordered, orders


class Prices(Protocol):
    async def price(self, item: str) -> int: ...


@component
class Catalogue:
    markup: int = 3

    @query
    async def price(self, item: str) -> int:
        return len(item) + self.markup


@component
class Clerk:
    prices: Prices

    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, str(await self.prices.price(order.item)))


app = App("protocols", Catalogue, Clerk, sample=lambda seed: orders(seed=seed))
