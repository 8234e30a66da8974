"""What an operation reaches through the methods of its own class."""

import functools
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

from allotrope.kernel.components import App, component
from allotrope.kernel.operations import query
from tests.planning.cases.events import SHOP, Features, Spending
from tests.planning.refusal import planned

app = App("shop", *SHOP)


def logged(body: Callable[..., Awaitable[str]]) -> Callable[..., Awaitable[str]]:
    @functools.wraps(body)
    async def wrapper(self: Any, card: str) -> str:
        return await body(self, card)

    return wrapper


class Shared:
    spending: Spending

    async def looked(self, card: str) -> Any:
        return await self.spending.of(card)


@component
class Deep(Shared):
    spending: Spending
    features: Features

    @query
    async def helped(self, card: str) -> str:
        return str(await self._first(card))

    async def _first(self, card: str) -> Any:
        return await self._second(card) if card else await self._first("a")

    async def _second(self, card: str) -> Any:
        return await self.features.total(card)

    @query
    async def parent(self, card: str) -> str:
        return str(await super().looked(card))

    @query
    async def answer(self, card: str) -> str:
        return str(await self.reader(card)) + str(self.ready) + self.named(card)

    @property
    def reader(self) -> Any:
        return self.features.total

    @cached_property
    def ready(self) -> bool:
        return self.spending.of is not None

    @staticmethod
    def named(self: str) -> str:
        return self.upper()

    @query
    @logged
    async def wrapped(self, card: str) -> str:
        return str((await self.spending.of(card)).total)

    @query
    async def nothing(self, card: str) -> str:
        return self.named(card)

    @query
    async def whole(self, card: str) -> str:
        return str(vars(self)) + card


def test_what_is_reached_through_own_methods() -> None:
    made = planned(Spending, Features, Deep)
    calls = {
        title.partition(".")[2]: [reach.operation for reach in made.calls[title]] for title in made.calls
    }
    assert calls["helped"] == ["total"]
    assert calls["parent"] == []
    assert made.reads["Deep.parent"] == ("Spending",)
    assert calls["answer"] == ["total"]
    assert made.reads["Deep.answer"] == ("Spending",)
    assert calls["wrapped"] == []
    assert made.reads["Deep.wrapped"] == ("Spending",)
    assert calls["nothing"] == []
    assert made.reads["Deep.nothing"] == ()


@component
class Renamed:
    spending: Spending
    features: Features

    def __init__(self, spending: Spending, features: Features) -> None:
        self._spent = spending
        self.features = features

    @query
    async def answer(self, card: str) -> str:
        return str((await self._spent.of(card)).total)


@component
class Copied:
    features: Features

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", self.features)

    @query
    async def answer(self, card: str) -> str:
        return str(await self.source.total(card))  # type: ignore[attr-defined]  # set above


def test_a_field_under_another_name_may_be_used_by_all() -> None:
    made = planned(Spending, Features, Renamed, Copied)
    assert made.reads["Renamed.answer"] == ("Spending",)
    assert [reach.operation for reach in made.calls["Copied.answer"]] == ["total"]


def test_an_instance_that_is_passed_on_may_use_all() -> None:
    made = planned(Spending, Features, Deep)
    assert [reach.operation for reach in made.calls["Deep.whole"]] == ["total"]
    assert made.reads["Deep.whole"] == ("Spending",)
