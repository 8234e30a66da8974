"""An app whose work goes through three components with tables of their own: under microservices, three ledgers."""

from allotrope import App, Event, Message, Sum, Table, View, component, on, query


class Sold(Event, key="customer"):
    id: str
    customer: str
    amount: int


class Billed(Event, key="customer"):
    id: str
    customer: str
    amount: int
    number: int


class Shipped(Event, key="customer"):
    id: str
    customer: str
    amount: int
    number: int
    before: int


class Line(Message):
    count: int
    total: int
    last: str


class Spent(View[Billed], key="customer"):
    total = Sum("amount")


def more(line: Line | None, id: str, amount: int) -> Line:
    return Line(1, amount, id) if line is None else Line(line.count + 1, line.total + amount, id)


@component
class Sales:
    lines: Table[Line]

    @on(Sold)
    async def bill(self, sold: Sold) -> Billed:
        line = more(await self.lines.get(sold.customer), sold.id, sold.amount)
        await self.lines.put(sold.customer, line)
        return Billed(sold.id, sold.customer, sold.amount, line.count)

    @query
    async def all(self) -> tuple[Line, ...]:
        return tuple([line async for _, line in self.lines.items()])


@component
class Bills:
    lines: Table[Line]
    spent: Spent

    @on(Billed)
    async def ship(self, billed: Billed) -> Shipped:
        before = await self.spent.of(billed.customer)
        await self.lines.put(
            billed.customer, more(await self.lines.get(billed.customer), billed.id, billed.amount)
        )
        return Shipped(billed.id, billed.customer, billed.amount, billed.number, int(before.total))

    @query
    async def all(self) -> tuple[Line, ...]:
        return tuple([line async for _, line in self.lines.items()])


@component
class Parcels:
    lines: Table[Line]

    @on(Shipped)
    async def send(self, shipped: Shipped) -> None:
        line = more(await self.lines.get(shipped.customer), shipped.id, shipped.before)
        await self.lines.put(shipped.customer, line)

    @query
    async def all(self) -> tuple[Line, ...]:
        return tuple([line async for _, line in self.lines.items()])


app = App("chain", Spent, Sales, Bills, Parcels)
