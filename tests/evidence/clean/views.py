"""Views over time windows and for ever, an exact aggregate of one's own, and late events."""

from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from typing import Any

from allotrope import Aggregate, App, Count, Last, Max, Mean, Sum, View, component, on, query
from allotrope.evidence.inputs import Ask, Publish
from tests.evidence.shop import Noted, Ordered, Repriced, priced


class Squares(Aggregate[float]):
    def zero(self) -> Fraction:
        return Fraction(0)

    def add(self, state: Fraction, value: float, mark: Any) -> Fraction:
        return state + Fraction(value) ** 2

    def merge(self, one: Fraction, other: Fraction) -> Fraction:
        return one + other

    def result(self, state: Fraction) -> float:
        return float(state)


class Spending(View[Ordered], key="customer", at="at"):
    count = Count(window=timedelta(minutes=10))
    total = Sum("amount", window=timedelta(minutes=30))
    mean = Mean("amount")
    largest = Max("amount")
    squares = Squares("amount")


class Prices(View[Repriced], key="item"):
    price = Last("price")


@component
class Clerk:
    spending: Spending
    prices: Prices

    @on(Ordered)
    async def judge(self, order: Ordered) -> Noted:
        known = await self.spending.of(order.customer, order.at)
        price = (await self.prices.of(order.item)).price
        return Noted(
            order.id, f"{known.count} {known.total} {known.mean} {known.largest} {known.squares} {price}"
        )

    @query
    async def spent(self, customer: str) -> float:
        return (await self.spending.of(customer)).mean


def sample(seed: int) -> Iterator[Publish | Ask]:
    for number, given in enumerate(priced(seed=seed)):
        event = given.event
        late = number % 9 == 4 and isinstance(event, Ordered)
        if late:
            event = Ordered(
                event.id, event.customer, event.item, event.amount, event.at - timedelta(minutes=7)
            )
        yield Publish(event, given.at)
        if number % 20 == 0:
            yield Ask("Clerk.spent", ("ann",))


app = App("views", Spending, Prices, Clerk, sample=sample)
