"""A view's windows, in whatever order events arrive: what a reader at an origin sees is what came before it."""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from allotrope import Count, Event, Last, Mean, Sum, View, days

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000


class Paid(Event, key="card"):
    card: str
    amount: float
    parts: int
    at: datetime


class Bought(Event, key="card"):
    card: str
    amount: int
    parts: int
    at: datetime


class Spending(View[Paid], key="card", at="at", late=timedelta(days=1)):
    count = Count(window=days(3))
    mean = Mean("amount", window=days(3))
    total = Sum("parts", window=days(2), delay=days(1))
    last = Last("amount", window=days(3))


class Mixed(View[Paid | Bought], key="card", at="at"):
    last = Last("amount", window=days(3))


TIMES = st.lists(st.tuples(st.integers(0, 400), st.floats(-1e6, 1e6), st.integers(-5, 5)), max_size=120)


def paid(hours: int, amount: float, parts: int) -> Paid:
    return Paid("a", amount, parts, EPOCH + timedelta(hours=hours))


def expected(events: list[tuple[int, Paid]], at: int, origin: int) -> tuple[int, float, int, float | None]:
    """The same figures, from all events anew."""
    seen = sorted((e.at - EPOCH, own, e) for own, e in events if own < origin)
    times = [time // timedelta(microseconds=1) for time, _, _ in seen]
    horizon = times[-1] - 4 * DAY if times else 0

    def window(width: int, delay: int) -> list[Paid]:
        start = max(at - delay - width * DAY, horizon)
        return [e for _, _, e in seen[bisect_right(times, start) : bisect_right(times, at - delay)]]

    three, two = window(3, 0), window(2, DAY)
    amounts = [e.amount for e in three]
    exact = Mean("amount")
    mean = exact.result(_state(exact, amounts)) if amounts else 0.0
    return len(three), mean, sum(e.parts for e in two), amounts[-1] if amounts else None


def _state(exact: Mean, amounts: list[float]) -> tuple[object, int]:
    state = exact.zero()
    for amount in amounts:
        state = exact.add(state, amount, (0, 0, ""))
    return state


@given(TIMES, st.randoms(use_true_random=False))
def test_a_reader_sees_what_came_before_it_and_no_more(
    found: list[tuple[int, float, int]], chance: Any
) -> None:
    events = [(origin, paid(*fields)) for origin, fields in enumerate(found, 1)]
    arrived = events.copy()
    chance.shuffle(arrived)
    view = Spending()
    view.floor = lambda: 0  # nothing is settled: every reader may still come
    for origin, event in arrived:
        view.add(event, origin)
    for origin in (0, 1, len(events) // 2, len(events), len(events) + 1):
        for hours in (0, 24, 100, 401):
            at = hours * 3_600_000_000
            figures = view.reading("a", at, origin)
            assert (figures.count, figures.mean, figures.total, figures.last) == expected(events, at, origin)


@given(TIMES)
def test_what_is_forgotten_was_out_of_reach(found: list[tuple[int, float, int]]) -> None:
    events = [(origin, paid(*fields)) for origin, fields in enumerate(found, 1)]
    view = Spending()
    for origin, event in events:
        view.floor = lambda origin=origin: origin  # all smaller ones are settled
        view.add(event, origin)
        at = 401 * 3_600_000_000 if origin % 2 else int(event.at.timestamp()) * 1_000_000
        figures = view.reading("a", at, origin)
        assert (figures.count, figures.mean, figures.total, figures.last) == expected(events, at, origin)


def test_values_keep_their_type_where_two_events_differ_in_it() -> None:
    view = Mixed()
    view.add(Paid("a", 1.0, 1, EPOCH))
    assert repr(view.reading("a", 0, 2).last) == "1.0"
    view.add(Bought("a", 1, 1, EPOCH))
    assert repr(view.reading("a", 0, 3).last) == "1"
