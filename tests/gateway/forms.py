"""An app whose one query takes every type that a message may have."""

import enum
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from allotrope import App, Message, component, query


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Inner(Message):
    number: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0
    words: tuple[str, ...] = ()


class Leaf(Message, tag="leaf"):
    value: float


class Pair(Message, tag="pair"):
    left: Inner
    right: Inner | None = None


class Whole(Message):
    text: str
    count: int
    share: float
    yes: bool
    raw: bytes
    exact: Decimal
    ident: UUID
    at: datetime
    day: date
    hour: time
    span: timedelta
    size: Size
    word: Literal["a", "b"]
    two: tuple[int, str]
    many: tuple[Inner, ...]
    some: Leaf | Pair
    none: None = None


@component
class Forms:
    @query
    async def whole(self, whole: Whole) -> Whole:
        return whole

    @query
    async def plain(
        self,
        text: str,
        count: int | None,
        exact: Decimal,
        ident: UUID,
        at: datetime,
        day: date,
        size: Size,
        word: Literal["a", "b"] = "a",
        span: timedelta = timedelta(0),
    ) -> tuple[str, ...]:
        return tuple(map(str, (text, count, exact, ident, at, day, size, word, span)))


app = App("forms", Forms)
