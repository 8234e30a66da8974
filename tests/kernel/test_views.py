"""Views against an oracle that keeps every event and filters them; arrivals in any order, with pruning."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from math import fsum
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allotrope import Count, Event, Last, Max, Mean, Min, Sum, View, days
from allotrope.kernel.calls import LAST_ORIGIN, Call, Effect, current
from allotrope.kernel.views import micros

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
LATE = 20 * SECOND
E = TypeVar("E", bound=Event)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


class Paid(Event, key="card"):
    card: str
    at: datetime
    amount: float
    exact: Decimal
    units: int


class Figures(View[Paid], at="at", late=seconds(20)):
    count = Count()
    total = Sum("amount")
    exact = Sum("exact")
    units = Sum("units")
    mean = Mean("amount")
    mean_exact = Mean("exact")
    mean_units = Mean("units")
    smallest = Min("amount")
    largest = Max("exact")
    last = Last("units")
    count_10 = Count(window=seconds(10))
    total_10 = Sum("amount", window=seconds(10))
    exact_10 = Sum("exact", window=seconds(10))
    units_3 = Sum("units", window=seconds(3))
    mean_10 = Mean("amount", window=seconds(10))
    mean_exact_3 = Mean("exact", window=seconds(3))
    mean_units_3 = Mean("units", window=seconds(3))
    smallest_5_2 = Min("amount", window=seconds(5), delay=seconds(2))
    largest_5_2 = Max("exact", window=seconds(5), delay=seconds(2))
    last_5_2 = Last("units", window=seconds(5), delay=seconds(2))
    count_5_2 = Count(window=seconds(5), delay=seconds(2))


@dataclass(frozen=True)
class Arrival:
    """One event with its name."""

    event: Paid
    origin: int
    path: str

    @property
    def mark(self) -> tuple[int, int, str]:
        return micros(self.event.at), self.origin, self.path


def figure(aggregate: Any, values: Sequence[Any]) -> Any:
    """Return what an aggregate should say of the values of one reading, in the order of their marks."""
    kind = type(aggregate)
    if kind is Count:
        return len(values)
    if kind in (Min, Max, Last):
        choose = {Min: min, Max: max, Last: lambda row: row[-1]}[kind]
        return choose(values) if values else None
    exact = sum(map(Fraction, values), Fraction(0))
    if kind is Mean:
        return float(exact) / len(values) if values else 0.0
    if aggregate.kind is Decimal:
        return sum(values, Decimal(0))
    return aggregate.kind(exact)


def oracle(
    arrived: Sequence[Arrival], card: str, at: int, origin: int, *, whole: bool = False
) -> dict[str, Any]:
    """Return a reading by brute force; `whole` says that nothing is too old to be asked for."""
    seen = sorted(
        (one for one in arrived if one.event.card == card and one.origin < origin), key=lambda one: one.mark
    )
    reach = 10 * SECOND + LATE
    horizon = seen[-1].mark[0] - reach if seen and not whole else -(1 << 62)
    figures = {}
    for a in Figures.__aggregates__:
        start, end = -(1 << 62), 1 << 62
        if a.window:
            end = at - a.delay // timedelta(microseconds=1)
            start = max(end - a.window // timedelta(microseconds=1), horizon)
        inside = [one for one in seen if start < one.mark[0] <= end]
        figures[a.name] = figure(a, [getattr(one.event, a.field) if a.field else 0 for one in inside])
    return figures


def shown(figures: dict[str, Any]) -> dict[str, str]:
    """Return figures so that equal means equal in every bit; of a decimal the value, not its spelling."""
    return {
        name: value.hex() if isinstance(value, float) else repr(spelled(value))
        for name, value in figures.items()
    }


def spelled(value: Any) -> Any:
    return value.normalize(Context(prec=200)) if isinstance(value, Decimal) else value


def stream(chance: random.Random, count: int, step: float = 1.0, cards: str = "ab") -> list[Arrival]:
    """Return events in the order of their origins: ties in time, some late, some of one origin."""
    made, time, origin = [], 0.0, 0
    while len(made) < count:
        origin += 1
        time += chance.choice([0, 0, step, step, 3 * step])
        for number in range(chance.choice([1, 1, 1, 2])):
            moment = time - chance.choice([0] * 6 + [1, 5, 19, 40])
            event = Paid(
                card=chance.choice(cards),
                at=EPOCH + seconds(int(moment)),
                amount=chance.uniform(-1, 1) * 10.0 ** chance.randint(-12, 12),
                exact=Decimal(chance.randint(-(10**6), 10**6)).scaleb(chance.randint(-8, 3)),
                units=chance.randint(-100, 1 << 60),
            )
            made.append(Arrival(event, origin, f"/Intake.accept#{number:03}"))
    return made[:count]


def moments(chance: random.Random, arrivals: Sequence[Arrival], count: int) -> Iterator[tuple[str, int, int]]:
    """Yield places to read from: a card, a time near an event, an origin."""
    for _ in range(count):
        at = micros(chance.choice(arrivals).event.at) + chance.choice([0, 0, SECOND, -SECOND, 7 * SECOND, 1])
        yield (
            chance.choice("abz"),
            at,
            chance.choice([chance.randint(0, arrivals[-1].origin + 1), LAST_ORIGIN]),
        )


@pytest.mark.parametrize("seed", range(15))
def test_every_reading_equals_the_oracles_whatever_the_order_of_arrival(seed: int) -> None:
    chance = random.Random(seed)
    arrivals = stream(chance, 60)
    chance.shuffle(arrivals)
    view = Figures()
    view.floor = lambda: 0
    for number, one in enumerate(arrivals, 1):
        view.add(one.event, one.origin, one.path)
        if number % 6 == 0:
            for card, at, origin in moments(chance, sorted(arrivals, key=lambda one: one.origin), 4):
                found = view.reading(card, at, origin).__dict__
                assert shown(found) == shown(oracle(arrivals[:number], card, at, origin))


@pytest.mark.parametrize("seed", range(8))
def test_pruning_never_changes_an_answer(seed: int) -> None:
    """Two views get the same arrivals; one never forgets, the other as soon as every reader allows it."""
    chance = random.Random(100 + seed)
    ordered = stream(chance, 300, cards="aab")
    arrivals = sorted(ordered, key=lambda one: one.origin + chance.uniform(0, 12))
    keeping, pruning = Figures(), Figures()
    left = [one.origin for one in arrivals]
    keeping.floor = lambda: 0
    compared = 0
    for number, one in enumerate(arrivals, 1):
        floor = min(left[number - 1 :])
        pruning.floor = lambda floor=floor: floor  # type: ignore[misc]  # the lowest that has not arrived
        for view in (keeping, pruning):
            view.add(one.event, one.origin, one.path)
        floor = min(left[number:], default=ordered[-1].origin + 1)
        for card, at, origin in moments(chance, arrivals[: number + 1], 2):
            readers = max(origin, floor)
            kept = keeping.reading(card, at, readers).__dict__
            assert shown(pruning.reading(card, at, readers).__dict__) == shown(kept)
            compared += 1
            if number % 50 == 0:
                assert shown(kept) == shown(oracle(arrivals[:number], card, at, readers))
    assert compared == 600
    held = len(pruning._series["a"].times)
    assert held < len(keeping._series["a"].times) / 2
    assert not [running for running in pruning._running.values() if len(running.newer) > 60]


@pytest.mark.parametrize("seed", range(8))
def test_within_what_may_be_late_nothing_is_missing(seed: int) -> None:
    """A reader that asks no further back than `late` behind the newest event sees all there is."""
    chance = random.Random(200 + seed)
    arrivals = stream(chance, 120, cards="a")
    view = Figures()
    for number, one in enumerate(arrivals, 1):
        view.floor = lambda origin=one.origin: origin  # type: ignore[misc]
        view.add(one.event, one.origin, one.path)
        newest = max(micros(seen.event.at) for seen in arrivals[:number])
        at = newest - chance.randrange(LATE + 1)
        found = view.reading("a", at, one.origin + 1).__dict__
        assert shown(found) == shown(oracle(arrivals[:number], "a", at, one.origin + 1, whole=True))


amounts = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(amounts, st.integers(0, 9)), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_sums_are_the_same_in_every_bit_for_every_order(rows: list[tuple[float, int]], chance: Any) -> None:
    made = [
        Arrival(Paid("a", EPOCH + seconds(second), amount, Decimal(0), 0), origin, "")
        for origin, (amount, second) in enumerate(rows, 1)
    ]
    exact = fsum(amount for amount, _ in rows)
    for _ in range(3):
        chance.shuffle(made)
        view = Figures()
        view.floor = lambda: 0
        for one in made:
            view.add(one.event, one.origin, one.path)
        reading = view.reading("a", 9 * SECOND, LAST_ORIGIN)
        assert reading.total.hex() == reading.total_10.hex() == exact.hex()


def test_sums_of_decimals_are_exact() -> None:
    parts = [Decimal("0.1"), Decimal("1E+30"), Decimal("-1E-30"), Decimal("0.2"), Decimal("-1E+30")]
    for order in itertools.permutations(parts):
        view = Figures()
        for exact in order:
            view.add(Paid("a", EPOCH, 0.0, exact, 0))
        reading = view.reading("a", 0, LAST_ORIGIN)
        assert reading.exact == reading.exact_10 == Decimal("0.299999999999999999999999999999")


def test_of_two_events_at_one_time_the_later_origin_is_the_last() -> None:
    for order in itertools.permutations([(1, "/a", 10), (1, "/b", 20), (2, "/a", 30)]):
        view = Figures()
        view.floor = lambda: 0
        for origin, path, units in order:
            view.add(Paid("a", EPOCH, 0.0, Decimal(0), units), origin, path)
        at = 2 * SECOND
        assert [view.reading("a", at, origin).last for origin in (1, 2, 3)] == [None, 20, 30]
        assert [view.reading("a", at, origin).last_5_2 for origin in (1, 2, 3)] == [None, 20, 30]


def test_a_key_that_nothing_was_seen_of() -> None:
    reading = Figures().reading("nobody", 0, LAST_ORIGIN)
    assert (reading.count, reading.total, reading.exact, reading.mean) == (0, 0.0, Decimal(0), 0.0)
    assert (reading.smallest, reading.largest, reading.last, reading.count_10) == (None, None, None, 0)
    assert isinstance(reading.units_3, int)


async def test_by_hand_origins_follow_the_calls_and_a_reading_is_of_the_newest() -> None:
    view = Figures()
    for second in (1, 2, 30):
        view.add(Paid("a", EPOCH + seconds(second), 1.0, Decimal(1), 1))
    newest, early = await view.of("a"), await view.of("a", EPOCH + seconds(2))
    assert (newest.count, newest.count_10, early.count_10) == (3, 1, 2)


async def test_an_operation_reads_as_of_its_own_origin_and_notes_it() -> None:
    view, effect = Figures(), Effect()
    view.floor = lambda: 0
    for origin in (1, 2, 3):
        view.add(Paid("a", EPOCH + seconds(origin), 1.0, Decimal(1), 1), origin)
    token = current.set(Call("Scorer", "score", origin=3, at=2 * SECOND, effect=effect))
    by_default, given = await view.of("a"), await view.of("a", EPOCH + seconds(1))
    current.reset(token)
    assert (by_default.count, by_default.count_10, given.count_10) == (2, 2, 1)
    asked = [("Figures.of", ("a", 2 * SECOND), by_default), ("Figures.of", ("a", SECOND), given)]
    assert effect.tape == asked


class Returned(Event, key="number"):
    number: int
    card: str
    units: int


class Both(View[Paid | Returned], key="card"):
    units = Sum("units")
    last_day = Last("units", window=days(1))


def test_a_view_may_have_several_sources_and_a_key_of_its_own() -> None:
    assert Both.sources() == (Paid, Returned)
    view = Both()
    view.add(Paid("a", EPOCH, 0.0, Decimal(0), 5))
    view.add(Returned(1, "a", -2))
    view.add(Returned(2, "b", 7))
    assert view.entries() == {"a": {"units": 3, "last_day": -2}, "b": {"units": 7, "last_day": 7}}


class Counted(View[Paid], at="at", late=seconds(20)):
    count_10 = Count(window=seconds(10))
    total = Sum("amount")


class More(Counted):
    largest = Max("amount")
    units_30 = Sum("units", window=seconds(30))


class Fewer(More, key="units"):
    total: Any = None  # taken away again


class Amounts(View[E], at="at"):
    total = Sum("amount")


class Refund(Event, key="card"):
    card: str
    at: datetime
    amount: Decimal


class PaidAmounts(Amounts[Paid]):
    pass


class RefundAmounts(Amounts[Refund]):
    pass


def test_a_view_of_a_view_has_its_aggregates_too() -> None:
    assert [a.name for a in More.__aggregates__] == ["count_10", "total", "largest", "units_30"]
    assert [a.name for a in Fewer.__aggregates__] == ["count_10", "largest", "units_30"]
    assert More.sources() == Fewer.sources() == (Paid,)
    assert (Counted.__reach__, More.__reach__) == (30 * SECOND, 50 * SECOND)
    one, more, fewer = Counted(), More(), Fewer()
    for view in (one, more, fewer):
        view.add(Paid("a", EPOCH, 2.0, Decimal(0), 5))
    assert one.entries() == {"a": {"count_10": 1, "total": 2.0}}
    assert more.entries() == {"a": {"count_10": 1, "units_30": 5, "total": 2.0, "largest": 2.0}}
    assert fewer.entries() == {"5": {"count_10": 1, "units_30": 5, "largest": 2.0}}


def test_views_of_one_pattern_keep_the_types_of_their_own_events() -> None:
    paid, refunded = PaidAmounts(), RefundAmounts()
    paid.add(Paid("a", EPOCH, 2.0, Decimal(0), 5))
    refunded.add(Refund("a", EPOCH, Decimal("0.1")))
    assert paid.entries() == {"a": {"total": 2.0}}
    assert refunded.entries() == {"a": {"total": Decimal("0.1")}}


def test_time_is_in_microseconds_and_without_zone_it_is_utc() -> None:
    assert micros(datetime(1970, 1, 2)) == micros(datetime(1970, 1, 2, tzinfo=UTC)) == 86_400 * SECOND
    assert micros(EPOCH - timedelta(microseconds=1)) == -1
    assert days(0.5) == timedelta(hours=12)
