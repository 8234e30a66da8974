"""Each kind of change is called what it is, with its place, who goes first, and what to do."""

import enum
from datetime import timedelta
from types import FunctionType
from typing import Any, Literal

import pytest

from allotrope import (
    App,
    Count,
    Event,
    Fault,
    Message,
    Refused,
    Table,
    View,
    command,
    component,
    days,
    on,
    query,
)
from allotrope.kernel import codec
from allotrope.planning.contracts.changes import Change, compared, told
from allotrope.planning.contracts.contract import contract_of


def changes(old: tuple[type, ...], new: tuple[type, ...]) -> list[Change]:
    return list(compared(contract_of(App("shop", *old)), contract_of(App("shop", *new))))


def lines(old: tuple[type, ...], new: tuple[type, ...]) -> list[str]:
    return [f"{c.place}: {c.what} ({c.order})" for c in changes(old, new)]


def taking(kind: type[Event]) -> type:
    """A component that takes an event."""

    class Taker:
        async def take(self, event: Event) -> None:
            return None

    Taker.take.__annotations__["event"] = kind
    Taker.take = on(kind)(Taker.take)
    return component(Taker)


def asking(body: Any, declare: Any = query) -> type:
    """A component with one query, or command, of this face."""
    fresh = FunctionType(body.__code__, body.__globals__, "ask", body.__defaults__)
    fresh.__annotations__ = body.__annotations__
    return component(type("Till", (), {"ask": declare(fresh)}))


class Before:
    class Order(Event, key="customer"):
        customer: str
        amount: float
        note: str = ""


class Wider:
    class Order(Event, key="customer"):
        customer: str
        amount: float
        note: str = ""
        lot: int = 0
        to: tuple[str, ...] = ()


class Renamed:
    class Order(Event, key="customer"):
        customer: str
        amout: float
        note: str = ""


class Retyped:
    class Order(Event, key="customer"):
        customer: str
        amount: int
        note: str = "-"


class Rekeyed:
    class Order(Event, key="note"):
        customer: str
        amount: float
        must: bool
        note: str = ""


def cents(fields: dict[str, float]) -> dict[str, object]:
    return {**fields, "amount": round(fields["amount"] * 100)}


class Second:
    class Order(Event, key="customer", version=2, upcasts=(cents,)):
        customer: str
        amount: int
        note: str = ""


class Unread:
    class Order(Event, key="customer", version=3, upcasts=(cents,)):
        customer: str
        amount: int


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (Wider, ["Order.lot: is new (any order)", "Order.to: is new (any order)"]),
        (
            Renamed,
            ["Order.amount: is gone (refused)", "Order.amout: is new, without a default (refused)"],
        ),
        (
            Retyped,
            [
                "Order.amount: `float` became `int` (refused)",
                "Order.note: its default '' became '-' (refused)",
            ],
        ),
        (
            Rekeyed,
            [
                "Order: its key `customer` became `note` (refused)",
                "Order.must: is new, without a default (refused)",
            ],
        ),
        (Second, ["Order: version 1 became 2 (readers first)"]),
        (Unread, ["Order: version 1 became 3 (refused)"]),
    ],
)
def test_an_event_changes(new: type, expected: list[str]) -> None:
    assert lines((taking(Before.Order),), (taking(new.Order),)) == expected


def test_a_version_does_not_go_down() -> None:
    assert lines((taking(Second.Order),), (taking(Before.Order),)) == ["Order: version 2 became 1 (refused)"]


def test_a_renamed_field_is_told_as_one() -> None:
    (gone, _) = changes((taking(Before.Order),), (taking(Renamed.Order),))
    assert "if it is `amout` now, keep both for a while" in str(gone)


def test_what_a_version_change_says_is_what_the_codec_does() -> None:
    old, new = Before.Order("ann", 1.5), Second.Order("ann", 150)
    assert codec.decode(codec.encode(old), Second.Order) == new
    with pytest.raises(Refused, match="Order of version 2: 1 is the newest known here"):
        codec.decode(codec.encode(new), Before.Order)


# -- operations


async def plain(self: object, key: str, most: int = 10) -> int:
    return 0


async def more(self: object, key: str, most: int = 10, least: int = 0) -> int:
    return 0


async def must(self: object, key: str, most: int, least: int) -> int:
    return 0


async def fewer(self: object, most: int = 20) -> str:
    return ""


@pytest.mark.parametrize(
    ("new", "declare", "expected"),
    [
        (more, query, ["Till.ask(least): is new (provider first)"]),
        (
            must,
            query,
            [
                "Till.ask(least): is new, without a default (refused)",
                "Till.ask(most): has no default any more (refused)",
            ],
        ),
        (
            fewer,
            query,
            [
                "Till.ask(key): `most` took its place (refused)",
                "Till.ask(most): is gone (refused)",
                "Till.ask, its answer: `int` became `str` (refused)",
            ],
        ),
        (
            plain,
            command(key="key"),
            [
                "Till.ask: its key `none` became `key` (refused)",
                "Till.ask: its kind `query` became `command` (refused)",
            ],
        ),
        (plain, query(repeatable=False), ["Till.ask: is not repeatable any more (refused)"]),
        (plain, query(key="key"), ["Till.ask: its key is key now (any order)"]),
    ],
)
def test_an_operation_changes(new: Any, declare: Any, expected: list[str]) -> None:
    assert lines((asking(plain),), (asking(new, declare),)) == expected


class Gone(Fault):
    key: str


class Closed(Fault):
    key: str


@pytest.mark.parametrize(
    ("kind", "dropped"), [(query, "provider first"), (command, "refused")], ids=["query", "command"]
)
def test_the_faults_of_an_operation_change(kind: object, dropped: str) -> None:
    async def ask(self: object) -> None:
        return None

    two = [asking(ask, kind(faults=faults)) for faults in ((Gone,), (Closed,))]
    assert lines((two[0],), (two[1],)) == [
        "Till.ask: raises Closed too (refused)",
        f"Till.ask: raises Gone no more ({dropped})",
    ]


def test_components_and_operations_come_and_go() -> None:
    @component
    class Desk:
        @query
        async def open(self, key: str) -> bool:
            return True

    @component
    class Counter:
        @query
        async def opened(self, key: str) -> bool:
            return True

    one = Desk
    Desk.__name__ = "Desk"
    assert lines((one,), (one, Counter)) == ["component Counter: is new (provider first)"]
    assert lines((one, Counter), (Counter,)) == ["component Desk: is gone (refused)"]
    other = component(type("Desk", (), {"opened": vars(Counter)["opened"]}))
    assert lines((one,), (other,)) == ["Desk.open: is gone (refused)", "Desk.opened: is new (provider first)"]
    assert "keep the old name beside `opened`" in str(changes((one,), (other,))[0])


# -- values inside values, tables, views


class Colour(enum.Enum):
    RED = "red"


class Colours(enum.Enum):
    CRIMSON = "red"
    BLUE = "blue"


Colours.__name__ = "Colour"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (int | None, None | int, []),
        (Literal["a", "b"], Literal["b", "a"], []),
        (int | None, int, ["`None | int` became `int`"]),
        (tuple[int, ...], tuple[int, int], ["`tuple[int, ...]` became `tuple[int, int]`"]),
        (Literal["a"], Literal["a", "b"], ["`Literal['a']` became `Literal['a', 'b']`"]),
        (Colour, Colours, ["is new"]),
        (Colours, Colour, ["is gone"]),
    ],
)
def test_types_are_compared_by_what_they_are(old: object, new: object, expected: list[str]) -> None:
    def rows(kind: object) -> type:
        return component(type("Till", (), {"__annotations__": {"kept": Table[kind]}}))

    found = [change.what for change in changes((rows(old),), (rows(new),))]
    assert found == [what.replace("None | int", "int | None") for what in expected]


def test_a_renamed_message_is_the_same_on_the_wire() -> None:
    class Slip(Message):
        id: str

    class Receipt(Message):
        id: str

    def answering(kind: type) -> type:
        async def ask(self: object) -> object:
            return None

        ask.__annotations__["return"] = tuple[kind, ...]
        return asking(ask)

    assert lines((answering(Slip),), (answering(Receipt),)) == []


def test_a_version_counts_only_where_a_value_stands_by_itself() -> None:
    class One:
        class Slip(Message, version=2):
            id: str

    class Two:
        class Slip(Message, version=3, upcasts=(lambda fields: fields,)):
            id: str

    def rows(kind: object) -> type:
        return component(type("Till", (), {"__annotations__": {"kept": Table[kind]}}))

    whole = lines((rows(One.Slip),), (rows(Two.Slip),))
    inside = lines((rows(tuple[One.Slip, ...]),), (rows(tuple[Two.Slip, ...]),))
    assert whole == ["Slip: version 2 became 3 (readers first)"]
    assert inside == ["Slip: version 2 became 3 (refused)"]


def test_a_sparse_message_is_read_only_by_who_has_its_defaults() -> None:
    class One:
        class Slip(Event, key="id"):
            id: str
            lot: int

    class Two:
        class Slip(Event, key="id", omit_defaults=True):
            id: str
            lot: int = 0

    assert lines((taking(One.Slip),), (taking(Two.Slip),)) == [
        "Slip.lot: its default (none) became 0 (refused)"
    ]


def test_a_table_that_is_renamed_would_leave_its_rows_behind() -> None:
    def tables(*names: str) -> type:
        return component(type("Till", (), {"__annotations__": dict.fromkeys(names, Table[int])}))

    assert lines((tables("paid"),), (tables("paid", "due"),)) == ["Till.due: is new (any order)"]
    assert lines((tables("paid", "due"),), (tables("paid"),)) == ["Till.due: is gone (any order)"]
    assert lines((tables("paid"),), (tables("payed"),))[0] == "Till.paid: is gone (refused)"


def test_the_figures_of_a_view_change() -> None:
    def spending(width: timedelta, **named: Count) -> type:
        space = {"orders": Count(window=width), **named, "__orig_bases__": (View[Before.Order],)}
        return type("Spending", (View,), space)

    found = lines((spending(days(7)),), (spending(days(8), all=Count()),))
    assert "Spending.all: is new (provider first)" in found
    assert "Spending.orders: `Count() over 604800 s` became `Count() over 691200 s` (refused)" in found


def test_changes_are_told_with_what_is_refused_first() -> None:
    found = changes((taking(Before.Order),), (taking(Renamed.Order),))
    text = told([*found, *changes((taking(Before.Order),), (taking(Wider.Order),))])
    assert [line.split(":")[0] for line in text.splitlines()] == [
        "Order.amount", "Order.amout", "Order.lot", "Order.to", "4 changes, 2 refused",
    ]  # fmt: skip
    assert told([]) == "no changes"
