"""Several components handle one event, each with rows of its own, some of which go away again."""

from allotrope import App, Table, component, on, query
from tests.evidence.shop import Counted, Noted, Ordered, asked


@component
class Basket:
    items: Table[str]

    @on(Ordered)
    async def put(self, order: Ordered) -> Noted | None:
        before = await self.items.get(order.customer)
        if before == order.item:
            await self.items.delete(order.customer)
            return Noted(order.id, f"{order.customer} has enough {order.item}")
        await self.items.put(order.customer, order.item)
        return None

    @query
    async def holding(self, item: str) -> tuple[str, ...]:
        return tuple([customer async for customer, held in self.items.items() if held == item])


@component
class Counter:
    counts: Table[int]

    @on(Ordered)
    async def ordered(self, order: Ordered) -> Counted:
        number = (await self.counts.get(order.customer) or 0) + 1
        await self.counts.put(order.customer, number)
        return Counted(order.id, number)


@component
class Archive:
    notes: Table[str]

    @on(Noted)
    async def noted(self, noted: Noted) -> None:
        await self.notes.put(noted.id, noted.text)

    @on(Counted)
    async def counted(self, counted: Counted) -> None:
        await self.notes.put(f"{counted.id}/n", str(counted.number))


app = App("fanned", Basket, Counter, Archive, sample=lambda seed: asked("Basket.holding", "apple", seed=seed))
