"""An app with a bit of everything that a contract can hold."""

import enum
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from allotrope import (
    App,
    Count,
    Event,
    Fault,
    Message,
    Table,
    View,
    command,
    component,
    days,
    every,
    on,
    query,
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(Message):
    x: float
    y: int | None = None


class Tree(Message):
    name: str
    below: "tuple[Tree, ...]" = ()


class Line(Message, tag=True):
    ends: tuple[Point, Point]


class Dot(Message, tag=True):
    at: Point = Point(0.5)


class Slip(Message, rename={"order_id": "orderId"}, omit_defaults=True):
    order_id: str
    price: Decimal = Decimal("1.50")
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    wait: timedelta = timedelta(seconds=90)
    colour: Colour = Colour.RED
    drawn: Line | Dot | None = None
    marks: tuple[str, ...] = ("a", "b")
    one: tuple[int] = (1,)
    data: bytes = b"\x00"
    lot: Annotated[int, msgspec.Meta(ge=0, lt=10)] = 3
    size: Literal["small", "large"] = "small"
    id: UUID = UUID(int=1)


def cents(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "amount": round(fields["amount"] * 100)}


class Paid(Event, key="card", version=2, upcasts=(cents,)):
    card: str
    amount: int


class Sent(Event, key="id", kw_only=True):
    note: str = ""
    id: str
    slips: tuple[Slip, ...]


class NotPaid(Fault):
    card: str
    since: int = 0


class Spending(View[Paid]):
    payments = Count(window=days(7))


@component
class Models:
    limit: float = 0.5
    kept: Table[Slip]

    @query
    async def score(self, row: NDArray[np.float32], *, colour: Colour = Colour.BLUE) -> float:
        return 0.0

    @query(batch=8)
    async def many(self, points: tuple[Point, ...]) -> tuple[float, ...]:
        return tuple(point.x for point in points)

    @query(repeatable=False, faults=(NotPaid,))
    async def ask(self, tree: Tree | None, shape: Line | Dot, plain: np.ndarray) -> Slip:
        raise NotPaid(card="x")

    @query
    async def stream(self, most: int = -1) -> AsyncIterator[Point]:
        yield Point(1.0)

    @command(key="card", faults=(NotPaid,))
    async def settle(self, card: str, slip: Slip) -> Sent:
        return Sent(id=card, slips=(slip,))

    @on(Paid)
    async def take(self, paid: Paid) -> None:
        return None

    @every(timedelta(hours=1))
    async def sweep(self, tick: object) -> None:
        return None


app = App("library", Models, Spending)
