"""The laws of the built-in aggregates: merge is associative and commutative, zero its identity."""

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allotrope import Aggregate, Count, Last, Max, Mean, Min, Sum

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    float: st.floats(allow_nan=False, allow_infinity=False),
    int: st.integers(-(1 << 63), (1 << 64) - 1),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40),
}
CASES = [
    pytest.param(kind, of, id=f"{kind.__name__}-{of.__name__}")
    for kind in (Count, Sum, Mean, Min, Max, Last)
    for of in VALUES
]


def marked(data: st.DataObject, of: Any) -> list[tuple[Any, tuple[int, int, str]]]:
    """Draw values in the order of their marks; no two marks are equal."""
    rows = data.draw(st.lists(st.tuples(VALUES[of], st.integers(0, 3)), max_size=8))
    return sorted(
        [(value, (time, origin, "")) for origin, (value, time) in enumerate(rows)], key=lambda row: row[1]
    )


def folded(aggregate: Aggregate[Any], rows: Sequence[tuple[Any, tuple[int, int, str]]]) -> Any:
    state = aggregate.zero()
    for value, mark in rows:
        state = aggregate.add(state, value, mark)
    return state


def bits(value: Any) -> Any:
    """Return what tells two equal figures apart: of 0.0 its sign, of a number its type."""
    return (type(value), repr(value) if isinstance(value, float) else value)


def one_of(kind: type[Aggregate[Any]], of: Any) -> Aggregate[Any]:
    aggregate = kind() if kind is Count else kind("field")
    aggregate.kind = of
    return aggregate


@pytest.mark.parametrize(("kind", "of"), CASES)
@settings(max_examples=25)
@given(data=st.data())
def test_grouping_and_order_are_nothing(kind: type[Aggregate[Any]], of: Any, data: st.DataObject) -> None:
    aggregate, rows = one_of(kind, of), marked(data, of)
    expected = bits(aggregate.result(folded(aggregate, rows)))
    shuffled = data.draw(st.permutations(rows))
    assert bits(aggregate.result(folded(aggregate, shuffled))) == expected
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(rows))] * 2)))
    one, two, three = (
        folded(aggregate, part) for part in (shuffled[:first], shuffled[first:second], shuffled[second:])
    )
    merge = aggregate.merge
    for state in (
        merge(merge(one, two), three),
        merge(one, merge(two, three)),
        merge(three, merge(two, one)),
        merge(merge(one, aggregate.zero()), merge(two, three)),
        merge(aggregate.zero(), merge(one, merge(two, three))),
    ):
        assert bits(aggregate.result(state)) == expected


@pytest.mark.parametrize(("kind", "of"), CASES)
@settings(max_examples=25)
@given(data=st.data())
def test_a_window_answers_as_the_running_state_does(
    kind: type[Aggregate[Any]], of: Any, data: st.DataObject
) -> None:
    aggregate, rows = one_of(kind, of), marked(data, of)
    first, last = data.draw(st.tuples(*[st.integers(0, len(rows))] * 2))
    expected = aggregate.result(folded(aggregate, rows[first:last]))
    assert bits(aggregate.over([value for value, _ in rows], first, last)) == bits(expected)


@given(st.lists(VALUES[float], min_size=1, max_size=20))
def test_sums_and_means_are_rounded_once(values: list[float]) -> None:
    total, mean = one_of(Sum, float), one_of(Mean, float)
    rows = [(value, (0, origin, "")) for origin, value in enumerate(values)]
    exact = sum(map(Fraction, values))
    try:
        expected = float(exact)
    except OverflowError:
        expected = math.inf if exact > 0 else -math.inf
    whole = math.isfinite(expected)
    assert total.result(folded(total, rows)) == expected
    assert mean.result(folded(mean, rows)) == (expected / len(rows) if whole else float(exact / len(rows)))


@pytest.mark.parametrize(
    ("values", "total", "mean"),
    [
        ([1e308, 1e308, -1e308], 1e308, 1e308 / 3),
        ([1e308, 1e308], math.inf, 1e308),
        ([-1e308, -1e308], -math.inf, -1e308),
    ],
)
def test_only_a_sum_out_of_range_is_infinite(values: list[float], total: float, mean: float) -> None:
    for kind, expected in ((Sum, total), (Mean, mean)):
        aggregate = one_of(kind, float)
        rows = [(value, (0, origin, "")) for origin, value in enumerate(values)]
        assert aggregate.over(values, 0, len(values)) == expected
        assert aggregate.result(folded(aggregate, rows)) == expected


def test_large_whole_numbers_are_not_rounded_on_the_way() -> None:
    values = [(1 << 53) + 1, 1, 1]
    assert one_of(Sum, int).over(values, 0, 3) == (1 << 53) + 3
    assert one_of(Mean, int).over(values, 0, 3) == float(Fraction((1 << 53) + 3)) / 3


def test_what_nothing_adds_up_to() -> None:
    figures = {kind: one_of(kind, float).over([], 0, 0) for kind in (Count, Sum, Mean, Min, Max, Last)}
    assert figures == {Count: 0, Sum: 0.0, Mean: 0.0, Min: None, Max: None, Last: None}
    assert bits(one_of(Sum, Decimal).over([], 0, 0)) == (Decimal, Decimal(0))
    assert bits(one_of(Sum, int).over([], 0, 0)) == (int, 0)
