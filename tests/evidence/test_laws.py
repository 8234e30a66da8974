from datetime import timedelta
from fractions import Fraction
from typing import Any

from allotrope import Aggregate, App, Sum, View
from allotrope.evidence.laws import broken
from allotrope.evidence.ticks import Ticks
from tests.evidence.clean.hourly import app as hourly
from tests.evidence.shop import Ordered, orders

EVENTS = [given.event for given in orders(80)]


class Plain(Aggregate[float]):
    def zero(self) -> Any:
        return 0.0

    def add(self, state: Any, value: float, mark: Any) -> Any:
        return state + value

    def merge(self, one: Any, other: Any) -> Any:
        return one + other

    def result(self, state: Any) -> float:
        return float(state)


class Exact(Plain):
    def zero(self) -> Any:
        return Fraction(0)

    def add(self, state: Any, value: float, mark: Any) -> Any:
        return state + Fraction(value)


class First(Plain):
    """The value of the smallest mark: right, since the mark travels with it."""

    def zero(self) -> Any:
        return None

    def add(self, state: Any, value: float, mark: Any) -> Any:
        return self.merge(state, (mark, value))

    def merge(self, one: Any, other: Any) -> Any:
        return min((state for state in (one, other) if state is not None), default=None)

    def result(self, state: Any) -> float:
        return -1.0 if state is None else float(state[1])


class Windowed(Aggregate[float]):
    """It answers for a window at once, whose values come in the order of time: it is never merged."""

    def over(self, values: Any, first: int, last: int) -> float:
        return values[last - 1] - values[first] if first < last else 0.0


def places(view: type) -> list[str]:
    return [where for where, _ in broken(App("laws", view), EVENTS)]


def test_only_an_aggregate_that_depends_on_order_or_grouping_breaks_the_law() -> None:
    class Spending(View[Ordered], key="customer", at="at"):
        plain = Plain("amount")
        exact = Exact("amount")
        first = First("amount")
        windowed = Windowed("amount", window=timedelta(hours=1))
        ours = Sum("amount")

    assert places(Spending) == ["Spending.plain"]
    ((where, what),) = broken(App("laws", Spending), EVENTS)
    assert where == "Spending.plain"
    assert what.startswith("80 values merged in another order give ")


def test_no_events_break_no_law() -> None:
    class Spending(View[Ordered], key="customer"):
        plain = Plain("amount")

    assert list(broken(App("laws", Spending), [])) == []


def test_ticks_come_once_each_in_the_order_of_time() -> None:
    minute = 60_000_000
    ticks = Ticks(hourly)
    assert list(ticks.due(7 * minute)) == []
    assert list(ticks.due(14 * minute)) == []
    assert list(ticks.due(46 * minute)) == [("Shelf.sweep", n * 15 * minute) for n in (1, 2, 3)]
    assert list(ticks.due(40 * minute)) == []
    assert list(ticks.due(60 * minute)) == [("Shelf.sweep", 60 * minute)]
