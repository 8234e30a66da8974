"""Random types that a message may have, with values of them; and values of any type at all."""

import enum
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from allotrope import Message

Kind = Any
Typed = tuple[Kind, st.SearchStrategy[Any]]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(Message):
    x: float
    y: int | None = None


class Line(Message, tag=True):
    ends: tuple[Point, Point]


class Circle(Message, tag=True):
    centre: Point
    radius: float = 1.0


class Remote(Point):
    """A point that knows more."""

    name: str = "far"


floats = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(1 << 63), (1 << 64) - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
points = st.builds(Point, x=floats, y=st.none() | integers)
lines = st.builds(Line, ends=st.tuples(points, points))
circles = st.builds(Circle, centre=points, radius=floats)
moments = st.datetimes(timezones=st.sampled_from([None, UTC]))
decimals = st.decimals(allow_nan=False, allow_infinity=False)

LEAVES: list[Typed] = [
    (str, texts),
    (int, integers),
    (float, floats),
    (bool, st.booleans()),
    (bytes, st.binary(max_size=8)),
    (Decimal, decimals),
    (datetime, moments),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (None, st.none()),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Literal["left", "right"], st.sampled_from(["left", "right"])),
    (Literal[1, 2], st.sampled_from([1, 2])),
    (Annotated[int, msgspec.Meta(ge=0, le=9)], st.integers(0, 9)),
    (Annotated[str, "said by the author"], texts),
    (Point, points),
    (Line, lines),
    (int | str, integers | texts),
    (float | bool | bytes, floats | st.booleans() | st.binary(max_size=8)),
    (Line | Circle, lines | circles),
    (int | float, integers | floats),
    (Colour | int, st.sampled_from(Colour) | integers),
]


def _wider(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    many = inner.map(lambda one: (tuple[one[0], ...], st.lists(one[1], max_size=4).map(tuple)))
    pair = st.tuples(inner, inner).map(
        lambda two: (tuple[two[0][0], two[1][0]], st.tuples(two[0][1], two[1][1]))
    )
    return many | pair | inner.map(lambda one: (Optional[one[0]], st.none() | one[1]))  # noqa: UP045  # of any type


typed = st.recursive(st.sampled_from(LEAVES), _wider, max_leaves=4)
_anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=4)
    | st.decimals()
    | st.datetimes(timezones=st.timezones() | st.none())
    | st.times(timezones=st.timezones() | st.none())
    | st.dates()
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from([*Colour, *Level, Remote(1.0), object()])
    | points
    | lines
    | st.frozensets(st.integers(0, 3))
)
wild = st.recursive(
    _anything,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.fixed_dictionaries({"x": inner})
    ),
    max_leaves=4,
)


def carrier(kind: Kind) -> type[Message]:
    """Return a message class with one field of a type."""
    made: type[Message] = type(Message)("Carrier", (Message,), {"__annotations__": {"value": kind}})
    return made


def same(one: Any, other: Any) -> bool:
    """Return whether two values agree in type and in every bit, however deep."""
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, msgspec.Struct):
        return all(same(getattr(one, field), getattr(other, field)) for field in one.__struct_fields__)
    return bool(one == other) and repr(one) == repr(other)
