"""Events and components that several tests share."""

from datetime import datetime
from decimal import Decimal

from allotrope.kernel.components import component
from allotrope.kernel.messages import Event, Fault, Message
from allotrope.kernel.operations import command, on, query
from allotrope.kernel.tables import Table
from allotrope.kernel.views import View, days
from allotrope.modules.features.api import Count, Sum


class Payment(Event, key="card"):
    id: str
    card: str
    amount: Decimal
    at: datetime


class Scored(Event, key="card"):
    card: str
    score: float


class Opened(Event, key="card"):
    card: str


class Closed(Fault):
    card: str


class TooLong(Fault):
    limit: int


class Sheet(Message):
    lines: tuple[str, ...]


class Spending(View[Payment], at="at"):
    total = Sum("amount", window=days(7))
    count = Count(window=days(1))


@component
class Intake:
    @command(key="card")
    async def accept(self, id: str, card: str, amount: Decimal, at: datetime) -> Payment:
        return Payment(id, card, amount, at)


@component
class Features:
    spending: Spending

    @query
    async def total(self, card: str) -> Decimal:
        return await self._summed(card)

    async def _summed(self, card: str) -> Decimal:
        return (await self.spending.of(card)).total


@component
class Scorer:
    features: Features
    threshold: float = 0.9

    @on(Payment)
    async def score(self, payment: Payment) -> Scored:
        return Scored(payment.card, float(await self.features.total(payment.card)))


@component
class Desk:
    cases: Table[Scored]

    @on(Scored)
    async def open(self, scored: Scored) -> Opened | None:
        await self.cases.put(scored.card, scored)
        return Opened(scored.card) if scored.score > 1 else None

    @query
    async def waiting(self) -> tuple[str, ...]:
        return tuple([card async for card, _ in self.cases.items()])

    @command(key="card", faults=(Closed,))
    async def close(self, card: str) -> None:
        if await self.cases.get(card) is None:
            raise Closed(card=card)
        await self.cases.delete(card)


SHOP = (Spending, Intake, Features, Scorer, Desk)
