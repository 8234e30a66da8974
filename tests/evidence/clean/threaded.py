"""Plain functions, which run in threads, and a cache of what can never change."""

from functools import cache

from allotrope import App, Table, component, on, query
from tests.evidence.shop import Noted, Ordered, asked


@cache
def length(text: str) -> int:
    return len(text)


@component
class Lengths:
    @query
    def of(self, text: str) -> int:
        return length(text)


@component
class Clerk:
    lengths: Lengths
    rows: Table[int]

    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        found = await self.lengths.of(order.item)
        await self.rows.put(order.customer, found)
        return Noted(order.id, f"{order.item} has {found}")


@component
class Reader:
    @on(Noted)
    def read(self, noted: Noted) -> None:
        return None


app = App("threaded", Lengths, Clerk, Reader, sample=lambda seed: asked("Lengths.of", "apple", seed=seed))
