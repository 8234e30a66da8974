"""An aggregate keeps whatever was added last, whenever that happened. Nobody handles its events."""

from typing import Any

from allotrope import Aggregate, App, View, component, query
from tests.evidence.shop import Ordered, asked

PLACES = {"Latest.item"}


class Newest(Aggregate[str]):
    def zero(self) -> str:
        return ""

    def add(self, state: str, value: str, mark: Any) -> str:
        return value

    def merge(self, one: str, other: str) -> str:
        return other or one

    def result(self, state: str) -> str:
        return state


class Latest(View[Ordered], key="customer"):
    item = Newest("item")


@component
class Desk:
    latest: Latest

    @query
    async def last(self, customer: str) -> str:
        return (await self.latest.of(customer)).item


app = App("first-come", Latest, Desk, sample=lambda seed: asked("Desk.last", "ann", "bob", seed=seed))
