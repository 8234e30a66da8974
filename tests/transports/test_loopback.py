"""Loopback: as strict as any wire, and a query that cannot be repeated is found out."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from allotrope import App, Failed, Fault, Message, component, query
from allotrope.compose import build
from allotrope.kernel.operations import Operation
from allotrope.transports.loopback import loopback

np = pytest.importorskip("numpy")


class Price(Message):
    cents: int
    tags: tuple[str, ...] = ()


class Shut(Fault):
    until: int
    why: Price


numbers = itertools.count()


@component
class Shop:
    seen: list[Any]

    @query
    async def echo(self, price: Price, count: int = 1) -> Price:
        self.seen.append(price)
        return price

    @query
    async def drift(self) -> int:
        return next(numbers)

    @query(repeatable=False)
    async def chance(self) -> int:
        return next(numbers)

    @query(faults=(Shut,))
    async def shut(self) -> Price:
        raise Shut(until=7, why=Price(1, ("a",)))

    @query
    async def array(self, values: np.ndarray) -> np.ndarray:
        self.seen.append(values)
        return values

    @query(faults=(Shut,))
    async def listed(self, count: int) -> AsyncIterator[Price]:
        try:
            for cents in range(count):
                yield Price(cents)
            raise Shut(until=count, why=Price(0))
        finally:
            self.seen.append("closed")


APP = App("shop", Shop)


def linked(name: str, shop: Shop) -> tuple[Callable[..., Any], list[tuple[str, Any, Any]]]:
    """Return the face of an operation behind loopback, and what it reports as differing."""
    differing: list[tuple[str, Any, Any]] = []
    operation: Operation = APP.operation(f"Shop.{name}")
    link = loopback(lambda title, one, other: differing.append((title, one, other)))
    return link(operation, partial(operation.body, shop)), differing


async def test_values_come_back_equal_and_are_never_the_same_object() -> None:
    shop, price = Shop(seen=[]), Price(5, ("a", "b"))
    ask, differing = linked("echo", shop)
    answer = await ask(price)
    assert answer == price
    assert answer is not price
    assert [seen == price and seen is not price for seen in shop.seen] == [True, True]
    assert await ask(price=price, count=2) == price
    assert differing == []


async def test_a_repeat_that_differs_is_reported() -> None:
    ask, differing = linked("drift", Shop(seen=[]))
    first = await ask()
    assert differing == [("Shop.drift", first, first + 1)]


async def test_what_cannot_be_repeated_is_asked_once() -> None:
    ask, differing = linked("chance", Shop(seen=[]))
    first = await ask()
    assert await ask() == first + 1
    assert differing == []


async def test_faults_cross_with_their_fields() -> None:
    ask, _ = linked("shut", Shop(seen=[]))
    with pytest.raises(Shut) as shut:
        await ask()
    assert shut.value == Shut(until=7, why=Price(1, ("a",)))
    assert shut.value.why.tags == ("a",)
    assert shut.value.__cause__ is None


async def test_arguments_that_could_change_are_not_shared() -> None:
    shop, values = Shop(seen=[]), np.arange(3.0)
    answer = await linked("array", shop)[0](values)
    values[0] = 9.0
    assert shop.seen[0].tolist() == answer.tolist() == [0.0, 1.0, 2.0]
    assert not answer.flags.writeable
    given = [1, 2]
    with pytest.raises(msgspec.ValidationError):  # the answer is no Price
        await linked("echo", shop)[0](given)
    given.append(3)
    assert shop.seen[-1] == [1, 2]


async def test_pieces_of_a_stream_cross_one_by_one() -> None:
    shop = Shop(seen=[])
    pieces = linked("listed", shop)[0](2)
    assert await anext(pieces) == Price(0)
    assert await anext(pieces) == Price(1)
    with pytest.raises(Shut) as shut:
        await anext(pieces)
    assert shut.value.until == 2
    assert shop.seen == ["closed"]


async def test_who_stops_listening_ends_the_other_side() -> None:
    shop = Shop(seen=[])
    pieces = linked("listed", shop)[0](5)
    await anext(pieces)
    await pieces.aclose()
    assert shop.seen == ["closed"]


@component
class Prices:
    @query(batch=4)
    async def double(self, cents: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(2 * one for one in cents)

    @query
    async def drift(self) -> int:
        return next(numbers)

    @query(faults=(Shut,))
    async def shut(self) -> Price:
        raise Shut(until=7, why=Price(1))


@component
class Till:
    prices: Prices

    @query
    async def doubled(self, cents: tuple[int, ...]) -> int:
        return sum(await asyncio.gather(*[self.prices.double(one) for one in cents]))

    @query
    async def drifting(self) -> int:
        return await self.prices.drift()

    @query(faults=(Shut,))
    async def refused(self) -> int:
        return (await self.prices.shut()).cents

    @query
    async def undeclared(self) -> int:
        try:
            return (await self.prices.shut()).cents
        except Shut as shut:
            raise ValueError(shut.until) from None


async def test_a_whole_app_runs_over_it(tmp_path: Path) -> None:
    differing: list[str] = []
    app = App("shop", Prices, Till)
    host = build(app, "loopback", tmp_path, differs=lambda title, one, other: differing.append(title))
    await host.start()
    till = host.of(Till)
    assert await till.doubled((1, 2, 3)) == 12
    assert differing == []
    await till.drifting()
    assert "Prices.drift" in differing
    with pytest.raises(Shut) as shut:
        await till.refused()
    assert shut.value == Shut(until=7, why=Price(1))
    with pytest.raises(Failed, match=r"Till\.undeclared failed: ValueError: 7"):
        await till.undeclared()
    await host.close()
