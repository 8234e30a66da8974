"""A small app that uses all that a decision may depend on. The tests of the command line run it."""

import asyncio
import logging
from datetime import datetime
from decimal import Decimal

from allotrope import (
    App,
    Chance,
    Clock,
    Event,
    Fault,
    Last,
    Message,
    Sum,
    Table,
    View,
    command,
    component,
    on,
    query,
)

log = logging.getLogger("shop")


class Ordered(Event, key="customer"):
    id: str
    customer: str
    amount: Decimal
    at: datetime


class Priced(Event, key="customer"):
    id: str
    customer: str
    amount: Decimal
    before: Decimal
    rate: float
    lot: int
    at: datetime


class Paid(View[Priced], key="customer"):
    total = Sum("amount")
    last = Last("id")


class Receipt(Message):
    id: str
    amount: Decimal
    printed: datetime


class NoRate(Fault):
    customer: str


class NoReceipt(Fault):
    id: str


@component
class Rates:
    """What a customer gets off."""

    @query(faults=(NoRate,))
    async def rate(self, customer: str, step: int = 1) -> float:
        if customer == "new":
            raise NoRate(customer=customer)
        return 0.1 * step

    @query(repeatable=False)
    async def mood(self) -> float:
        return 1.0


@component
class Till:
    token: str = "hush-hush-42"
    discount: int = 0
    paid: Paid
    rates: Rates
    receipts: Table[Receipt]
    clock: Clock
    chance: Chance

    @on(Ordered)
    async def price(self, ordered: Ordered) -> Priced:
        """Price an order; it comes to nothing when somebody pays with thirteen."""
        log.info("pricing %s with %s", ordered.id, self.token)
        before = await self.paid.of(ordered.customer)
        try:
            rate = await self.rates.rate(ordered.customer)
        except NoRate:
            rate = 0.0
        if ordered.customer == "never":
            await asyncio.Event().wait()
        if ordered.amount == 13:
            raise ValueError(f"thirteen, says {self.token}")
        await self.rates.mood()
        lot = self.chance.source().randrange(1_000_000)
        amount = ordered.amount - self.discount
        return Priced(ordered.id, ordered.customer, amount, Decimal(before.total), rate, lot, ordered.at)

    @on(Priced)
    async def print(self, priced: Priced) -> None:
        if await self.receipts.get(priced.id) is None:
            await self.receipts.put(priced.id, Receipt(priced.id, priced.amount, self.clock.now()))

    @command(key="id", faults=(NoReceipt,))
    async def refund(self, id: str) -> Decimal:
        found = await self.receipts.get(id)
        if found is None:
            raise NoReceipt(id=id)
        await self.receipts.delete(id)
        return found.amount

    @query
    async def receipt(self, id: str) -> Receipt | None:
        return await self.receipts.get(id)

    @query
    async def all(self) -> tuple[str, ...]:
        return tuple([key async for key, _ in self.receipts.items()])


app = App("shop", Paid, Rates, Till)
