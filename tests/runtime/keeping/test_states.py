"""The state of a view as bytes: what is restored answers as what has seen every event, as of each origin needed."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from allotrope import Count, Event, Last, Max, Mean, Message, Min, Sum, View
from allotrope.kernel.aggregates import Aggregate
from allotrope.runtime.keeping.states import Unkept, Watch, fingerprint, owed, page

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


class Place(Message):
    city: str
    floors: tuple[int, ...]


class Paid(Event, key="card"):
    card: str
    at: datetime
    amount: float
    exact: Decimal
    units: int
    where: Place


class Refunded(Event, key="card"):
    card: str
    at: datetime
    amount: float
    exact: Decimal
    units: int
    where: Place


class Figures(View[Paid | Refunded], at="at", late=seconds(20)):
    count = Count()
    total = Sum("amount")
    exact = Sum("exact")
    units = Sum("units")
    mean = Mean("exact")
    smallest = Min("at")
    largest = Max("exact")
    last = Last("where")
    count_10 = Count(window=seconds(10))
    total_10 = Sum("amount", window=seconds(10))
    exact_10 = Sum("exact", window=seconds(10))
    last_10 = Last("where", window=seconds(10))
    latest_5_2 = Max("at", window=seconds(5), delay=seconds(2))
    units_5_2 = Sum("units", window=seconds(5), delay=seconds(2))


class Totals(View[Paid]):
    units = Sum("units")


def arrivals(chance: random.Random) -> list[Any]:
    """Return events of two kinds and keys, of any time, with values that not every format can tell."""
    amounts = (0.1, -0.0, 1e308, 5e-324, 0.0)
    return [
        chance.choice((Paid, Refunded))(
            chance.choice("ab"), EPOCH + timedelta(milliseconds=chance.randrange(40_000)), chance.choice(amounts),
            Decimal(chance.randrange(-(10**9), 10**9)) / 1000, chance.choice(((1 << 64) - 1, -(1 << 63), 7, -1, 0)),
            Place(chance.choice(("", "x", "\u00e9")), (chance.randrange(7), 1)),
        )
        for _ in range(chance.randrange(70))
    ]  # fmt: skip


class Live:
    """A view in the middle of its work: events of `window` origins come in any order."""

    def __init__(self, kind: type[View[Any]]) -> None:
        self.view = kind()
        self.origin = 0
        self.watch = Watch(self.view)
        self.view.floor = lambda: self.origin

    def readings(self, origins: range) -> dict[Any, str]:
        moments = [1_767_225_600_000_000 + step * 7_500_000 for step in range(7)]
        return {
            (key, at, origin): repr(self.view.reading(key, at, origin).__dict__)
            for key in "ab"
            for at in moments
            for origin in origins
        }


def kept(of: Live, since: int, known: dict[str, str], origin: int) -> list[tuple[str, str, bytes]]:
    watches = {of.watch.name: of.watch}
    left, rows = owed(watches, since, known), list[tuple[str, str, bytes]]()
    while left:
        rows += page(watches, left, origin)
    return rows


@pytest.mark.parametrize("seed", range(60))
def test_what_is_restored_answers_as_what_saw_every_event(seed: int) -> None:
    chance = random.Random(seed)
    live, rows, since = Live(Figures), dict[str, bytes](), 0
    named = [(origin, event) for origin, event in enumerate(arrivals(chance), 1)]
    for place in range(0, len(named), 6):  # of the origins in flight, any may come first
        chance.shuffle(flight := named[place : place + 6])
        named[place : place + 6] = flight
    seen: list[tuple[int, Any, str]] = []
    for origin, event in named:
        path = chance.choice(("", "/a#000"))
        live.view.add(event, origin, path)
        seen.append((origin, event, path))
        if chance.random() < 0.15:  # all below the smallest that has not come yet are finished
            known = {live.watch.name: live.watch.print} if rows else {}
            live.origin = min({own for own, _ in named} - {own for own, *_ in seen} or {len(named) + 1})
            found = kept(live, since, known, live.origin)
            rows |= {key: state for _, key, state in found}
            since = live.origin
            restored = Live(Figures)
            restored.origin = since
            restored.watch.restore([("Figures", key, state) for key, state in rows.items()])
            for later, again, path in seen:
                if later >= since:
                    restored.view.add(again, later, path)
            origins = range(since, since + 9, 4)
            assert restored.readings(origins) == live.readings(origins)


class Odd(Aggregate[int]):
    """An expert's own, whose state is an object that nobody else knows."""

    def zero(self) -> Any:
        return object()

    def add(self, state: Any, value: Any, mark: Any) -> Any:
        return object()

    def result(self, state: Any) -> int:
        return 1


class Unknown(View[Paid]):
    odd = Odd("units")


def paid(card: str, units: int) -> Paid:
    return Paid(card, EPOCH, 1.0, Decimal(1), units, Place("x", ()))


def test_a_state_that_nobody_can_write_down_is_refused() -> None:
    live = Live(Unknown)
    live.view.add(paid("a", 1), 1)
    with pytest.raises(Unkept, match=r"view Unknown holds a builtins\.object"):
        kept(live, 0, {}, 2)


def test_only_what_has_changed_is_written_again() -> None:
    live = Live(Totals)
    for origin, card in enumerate("abcab", 1):
        live.view.add(paid(card, origin), origin)
    known = {"Totals": live.watch.print}
    assert sorted(key for _, key, _ in kept(live, 4, known, 6)) == ["a", "b"]
    assert sorted(key for _, key, _ in kept(live, 4, {"Totals": "another"}, 6)) == ["a", "b", "c"]
    assert kept(live, 6, known, 6) == []


def test_another_definition_has_another_fingerprint() -> None:
    def made(**options: Any) -> str:
        class Totals(View[Paid], **options):
            units = Sum("units")

        return fingerprint(Totals)

    def wider() -> str:
        class Totals(View[Paid]):
            units = Sum("units", window=seconds(5))

        return fingerprint(Totals)

    assert made() == made()
    assert len({made(), made(at="at"), made(key="units"), wider()}) == 4
