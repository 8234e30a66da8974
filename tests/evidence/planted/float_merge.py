"""An aggregate adds floats one by one; merged in another order they round otherwise."""

from typing import Any

from allotrope import Aggregate, App, View, component, on
from tests.evidence.shop import Noted, Ordered, orders

PLACES = {"Spending.total"}


class Plain(Aggregate[float]):
    def zero(self) -> float:
        return 0.0

    def add(self, state: float, value: float, mark: Any) -> float:
        return state + value

    def merge(self, one: float, other: float) -> float:
        return one + other

    def result(self, state: float) -> float:
        return state


class Spending(View[Ordered], key="item"):
    total = Plain("amount")


@component
class Clerk:
    spending: Spending

    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, f"{(await self.spending.of(order.item)).total:.2f}")


app = App("float-merge", Spending, Clerk, sample=lambda seed: orders(seed=seed))
