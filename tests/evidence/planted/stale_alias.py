"""The first reading of a price is kept in the instance and used for ever."""

from functools import cached_property

from allotrope import App, Last, View, component, on
from tests.evidence.shop import Noted, Ordered, Repriced, priced

PLACES = {"Clerk.charge"}


class Prices(View[Repriced], key="item"):
    price = Last("price")


@component
class Clerk:
    prices: Prices

    @cached_property
    def known(self) -> dict[str, float]:
        return {}

    @on(Ordered)
    async def charge(self, order: Ordered) -> Noted:
        if order.item not in self.known:
            self.known[order.item] = (await self.prices.of(order.item)).price or 0.0
        return Noted(order.id, f"{self.known[order.item]:.2f}")


app = App("stale-alias", Prices, Clerk, sample=lambda seed: priced(seed=seed))
