"""A view that is read as it is, without waiting: what comes of it may vary, as declared."""

from typing import Annotated

from allotrope import App, Count, Latest, Table, View, component, on
from tests.evidence.shop import Counted, Noted, Ordered, orders


class Sales(View[Noted], key="text"):
    count = Count()


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, order.item)


@component
class Board:
    sales: Annotated[Sales, Latest(60)]
    rows: Table[int]

    @on(Ordered)
    async def show(self, order: Ordered) -> Counted:
        sold = (await self.sales.of(order.item)).count
        await self.rows.put(order.customer, sold)
        return Counted(order.id, sold)


@component
class Reader:
    rows: Table[int]

    @on(Counted)
    async def read(self, counted: Counted) -> None:
        await self.rows.put(counted.id, counted.number)


app = App("loosely", Clerk, Sales, Board, Reader, sample=lambda seed: orders(seed=seed))
