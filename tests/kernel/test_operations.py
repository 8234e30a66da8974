"""A decorator notes what an operation is; the function stays what it was."""

import inspect
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any

import pytest

from allotrope import App, Event, Fault, Message, Tick, command, component, every, on, query
from allotrope.kernel.components import described
from allotrope.kernel.operations import Operation, events_of


class Asked(Event, key="card"):
    card: str


class Scored(Event, key="card"):
    card: str
    score: float


class Noted(Event, key="card"):
    card: str


class Price(Message):
    cents: int


class Shut(Fault):
    until: int


@component
class Shop:
    rate: float = 2.0

    @query
    async def price(self, name: str, count: int = 1) -> Price:
        """Return the price."""
        return Price(int(len(name) * count * self.rate))

    @query(faults=(Shut,), repeatable=False, deadline_s=0.5)
    def guess(self, name: str) -> float:
        return float(len(name))

    @query(batch=3)
    async def many(self, names: tuple[str, ...]) -> tuple[Price, ...]:
        return tuple(Price(len(name)) for name in names)

    @query(batch=2)
    def plain(self, names: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(map(len, names))

    @query
    async def listed(self, count: int) -> AsyncIterator[Price]:
        for cents in range(count):
            yield Price(cents)

    @command(key="card", faults=(Shut,), deadline_s=2.0)
    async def shut(self, card: str, why: Annotated[str, "free text"]) -> Noted | None:
        if not why:
            raise Shut(until=7)
        return Noted(card)

    @on(Asked, Noted)
    async def score(self, event: Asked | Noted) -> tuple[Scored, Noted | None]:
        return Scored(event.card, 0.5), None

    @every(timedelta(minutes=5))
    def sweep(self, tick: Tick) -> tuple[Noted, ...]:
        return (Noted(tick.operation),)

    def helper(self) -> int:
        return 1


def operation(name: str) -> Operation:
    return App("shop", Shop).operation(f"Shop.{name}")


async def test_a_decorated_function_is_called_by_hand() -> None:
    shop = Shop(rate=3.0)
    assert await shop.price("ab", count=2) == Price(12)
    assert shop.guess("abc") == 3.0
    assert [piece async for piece in shop.listed(2)] == [Price(0), Price(1)]
    assert await shop.score(Asked("c")) == (Scored("c", 0.5), None)
    assert shop.sweep(Tick("Shop.sweep", 1)) == (Noted("Shop.sweep"),)
    with pytest.raises(Shut) as shut:
        await shop.shut("c", "")
    assert shut.value.until == 7
    assert Shop.price.__doc__ == "Return the price."


async def test_a_batched_one_is_called_with_one_value() -> None:
    shop = Shop()
    assert await shop.many("abc") == Price(3)
    assert await shop.plain("abcd") == 4
    assert Shop.many.__name__ == "many"
    assert await operation("many").body(shop, ("a", "bc")) == (Price(1), Price(2))


def test_each_word_says_what_it_is() -> None:
    kinds = {name: operation(name).kind for name in ("price", "many", "shut", "score", "sweep")}
    assert kinds == {"price": "query", "many": "query", "shut": "command", "score": "on", "sweep": "every"}
    assert [name for name in kinds if operation(name).writes] == ["shut", "score", "sweep"]
    assert [o.name for o in described(Shop).operations if o.streams] == ["listed"]
    assert [o.name for o in described(Shop).operations if not o.suspends] == [
        "guess",
        "plain",
        "listed",
        "sweep",
    ]
    assert operation("price").title == "Shop.price"
    assert "helper" not in [o.name for o in described(Shop).operations]


def test_what_was_declared_is_kept() -> None:
    guess, shut, sweep = operation("guess"), operation("shut"), operation("sweep")
    assert (guess.faults, guess.repeatable, guess.deadline_s) == ((Shut,), False, 0.5)
    assert (shut.key, shut.faults, shut.deadline_s) == ("card", (Shut,), 2.0)
    assert (sweep.sources, sweep.period) == ((Tick,), timedelta(minutes=5))
    assert operation("score").sources == (Asked, Noted)
    assert (operation("many").batch, operation("price").repeatable) == (3, True)
    lines = inspect.getsource(inspect.getmodule(Shop) or Shop).splitlines()
    assert "@query(faults=(Shut,)" in lines[guess.place.line - 1]


def test_types_are_those_of_one_call() -> None:
    assert operation("price").parameters() == {"name": str, "count": int}
    assert operation("shut").parameters() == {"card": str, "why": Annotated[str, "free text"]}
    assert operation("price").result() is Price
    assert operation("listed").result() is Price
    assert operation("many").result() is Price
    assert operation("shut").result() == Noted | None

    def untyped(self: Any, one) -> None:  # type: ignore[no-untyped-def]
        return None

    loose = Operation(name="untyped", kind="query", body=untyped, place=operation("price").place)
    assert loose.parameters() == {"one": inspect.Parameter.empty}
    assert loose.result() is type(None)


def test_what_may_be_published_is_in_the_answers_type() -> None:
    assert operation("shut").publishes() == (Noted,)
    assert operation("score").publishes() == (Scored, Noted)
    assert operation("sweep").publishes() == (Noted,)
    assert operation("price").publishes() == ()


def test_events_are_taken_out_of_an_answer() -> None:
    noted, scored = Noted("c"), Scored("c", 1.0)
    assert events_of(None) == events_of(Price(1)) == events_of(()) == ()
    assert events_of(noted) == (noted,)
    assert events_of((scored, None, noted, 3)) == (scored, noted)
