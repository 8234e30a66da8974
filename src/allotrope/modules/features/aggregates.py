"""The built-in aggregates. None depends on the order of arrival: sums are exact, and rounded once."""

from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from math import fsum, inf
from typing import Any, ClassVar

from allotrope.kernel.aggregates import Aggregate, Mark

_EXACT = Context(prec=4000)  # wide enough that no sum of decimals is rounded before its end


def _rounded(exact: Fraction) -> float:
    """Return the nearest float; beyond the largest one an infinity, as IEEE 754 rounds."""
    try:
        return float(exact)
    except OverflowError:
        return inf if exact > 0 else -inf


class Count(Aggregate[int]):
    """How many events."""

    def over(self, values: Sequence[Any], first: int, last: int) -> int:
        return last - first if last > first else 0

    def zero(self) -> int:
        return 0

    def add(self, state: int, value: Any, mark: Mark) -> int:
        return state + 1

    def merge(self, one: int, other: int) -> int:
        return one + other

    def result(self, state: int) -> int:
        return state


class Sum(Aggregate[Any]):
    """The exact sum, rounded once at the end, of the type of its values; 0 of no events.

    Of floats it is an infinity only when the sum itself is out of range, not when a part of it is.
    """

    def over(self, values: Sequence[Any], first: int, last: int) -> Any:
        if self.kind is int:
            return sum(values[first:last])
        if self.kind is float:
            try:
                return fsum(values[first:last])
            except OverflowError:
                pass  # on the way, perhaps, and not at the end
        return super().over(values, first, last)

    def zero(self) -> Fraction:
        return Fraction(0)

    def add(self, state: Fraction, value: Any, mark: Mark) -> Fraction:
        return state + Fraction(value)

    def merge(self, one: Fraction, other: Fraction) -> Fraction:
        return one + other

    def result(self, state: Fraction) -> Any:
        if self.kind is Decimal:
            return _EXACT.divide(Decimal(state.numerator), Decimal(state.denominator))
        return int(state) if self.kind in (int, bool) else _rounded(state)


class Mean(Aggregate[float]):
    """The exact sum over the count, as a float; 0.0 of no events."""

    def over(self, values: Sequence[Any], first: int, last: int) -> float:
        if first >= last:
            return 0.0
        if self.kind is int:
            return float(sum(values[first:last])) / (last - first)
        if self.kind is float:
            try:
                return fsum(values[first:last]) / (last - first)
            except OverflowError:
                pass  # on the way, perhaps, and not at the end
        return super().over(values, first, last)

    def zero(self) -> tuple[Fraction, int]:
        return Fraction(0), 0

    def add(self, state: tuple[Fraction, int], value: Any, mark: Mark) -> tuple[Fraction, int]:
        return state[0] + Fraction(value), state[1] + 1

    def merge(self, one: tuple[Fraction, int], other: tuple[Fraction, int]) -> tuple[Fraction, int]:
        return one[0] + other[0], one[1] + other[1]

    def result(self, state: tuple[Fraction, int]) -> float:
        total, count = state
        try:
            return float(total) / count if count else 0.0
        except OverflowError:
            return _rounded(total / count)


class Extreme(Aggregate[Any]):
    """The value that `choose` prefers; None of no events."""

    choose: ClassVar[Callable[..., Any]]

    def over(self, values: Sequence[Any], first: int, last: int) -> Any:
        return type(self).choose(values[first:last]) if first < last else None

    def zero(self) -> Any:
        return None

    def add(self, state: Any, value: Any, mark: Mark) -> Any:
        return self.merge(state, value)

    def merge(self, one: Any, other: Any) -> Any:
        return other if one is None else one if other is None else type(self).choose((one, other))

    def result(self, state: Any) -> Any:
        return state


class Min(Extreme):
    """The smallest value; None of no events."""

    choose = min


class Max(Extreme):
    """The largest value; None of no events."""

    choose = max


class Last(Extreme):
    """The value of the latest event by time, then origin, then path; None of no events."""

    choose = max  # of (mark, value): no two marks are equal

    def over(self, values: Sequence[Any], first: int, last: int) -> Any:
        return values[last - 1] if first < last else None

    def add(self, state: Any, value: Any, mark: Mark) -> Any:
        return self.merge(state, (mark, value))

    def result(self, state: Any) -> Any:
        return None if state is None else state[1]
