"""Values of many types: decimals, enums, times, tuples and what may be missing."""

import enum
from datetime import datetime, timedelta
from decimal import Decimal

from allotrope import App, Event, Mean, Message, Min, Sum, Table, View, component, on, query
from tests.evidence.shop import Ordered, asked


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Line(Message):
    text: str
    price: Decimal
    tags: tuple[str, ...] = ()


class Billed(Event, key="customer"):
    customer: str
    lines: tuple[Line, ...]
    price: Decimal
    size: Size
    due: datetime
    coupon: str | None = None


class Bills(View[Billed], key="customer"):
    total = Sum("price")
    mean = Mean("price")
    least = Min("price")


@component
class Clerk:
    @on(Ordered)
    async def bill(self, order: Ordered) -> Billed:
        price = Decimal(str(order.amount)).quantize(Decimal("0.01"))
        lines = (Line(order.item, price, ("new", order.item)), Line("service", Decimal("1.10")))
        size = Size.LARGE if price > 40 else Size.SMALL
        return Billed(order.customer, lines, price, size, order.at + timedelta(days=1, hours=3))


@component
class Book:
    bills: Bills
    rows: Table[Line | None]

    @on(Billed)
    async def keep(self, billed: Billed) -> None:
        before = await self.bills.of(billed.customer)
        await self.rows.put(f"{billed.customer}/{billed.due:%H%M}", Line(billed.size.value, before.total))

    @query
    async def owed(self, customer: str) -> Decimal | None:
        return (await self.bills.of(customer)).least


app = App("decimals", Clerk, Bills, Book, sample=lambda seed: asked("Book.owed", "ann", "zoe", seed=seed))
