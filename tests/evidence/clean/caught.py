"""A query that raises a declared fault, caught by a handler and told to an outside caller."""

from allotrope import App, Fault, component, on, query
from tests.evidence.shop import Noted, Ordered, asked


class Unknown(Fault):
    item: str


@component
class Catalogue:
    @query(faults=(Unknown,))
    async def price(self, item: str) -> int:
        if item == "dates":
            raise Unknown(item=item)
        return len(item)


@component
class Clerk:
    catalogue: Catalogue

    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        try:
            return Noted(order.id, str(await self.catalogue.price(order.item)))
        except Unknown as unknown:
            return Noted(order.id, f"no {unknown.item}")


app = App(
    "caught", Catalogue, Clerk, sample=lambda seed: asked("Catalogue.price", "apple", "dates", seed=seed)
)
