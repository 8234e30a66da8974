"""Several events for one order, of several types, each handled by components that publish again."""

from allotrope import App, Event, Sum, Table, View, component, on
from tests.evidence.shop import Counted, Noted, Ordered, orders


class Shipped(Event, key="item"):
    item: str
    amount: int


class Stock(View[Shipped], key="item"):
    out = Sum("amount")


@component
class Clerk:
    @on(Ordered)
    async def split(self, order: Ordered) -> tuple[Noted | Counted, ...]:
        letters = int(order.amount) % 4
        return (*(Noted(f"{order.id}/{n}", order.item) for n in range(letters)), Counted(order.id, letters))


@component
class Packer:
    @on(Noted)
    async def pack(self, noted: Noted) -> Shipped | None:
        return Shipped(noted.text, len(noted.id)) if not noted.id.endswith("/1") else None


@component
class Keeper:
    stock: Stock
    seen: Table[int]

    @on(Shipped)
    async def keep(self, shipped: Shipped) -> None:
        before = await self.stock.of(shipped.item)
        await self.seen.put(shipped.item, int(before.out))


app = App("chained", Clerk, Packer, Stock, Keeper, sample=lambda seed: orders(seed=seed))
