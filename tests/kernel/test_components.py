"""A component is an ordinary class: built by hand, frozen, its needs told by the types of its fields."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol

import pytest

from allotrope import (
    App,
    Chance,
    Clock,
    Count,
    Event,
    Latest,
    Message,
    Refused,
    Table,
    View,
    command,
    component,
    on,
    query,
)
from allotrope.kernel.calls import Call, current
from allotrope.kernel.components import described


class Paid(Event, key="card"):
    card: str


class Scored(Event, key="card"):
    card: str


class Reviewed(Event, key="card"):
    card: str


class Row(Message):
    seen: int


class Totals(View[Paid]):
    count = Count()


class Pricing(Protocol):
    async def price(self, name: str) -> int: ...


class Unmet(Protocol):
    async def fly(self) -> int: ...


@component
class Prices:
    """The real one."""

    rate: int = 2

    @query
    async def price(self, name: str) -> int:
        return len(name) * self.rate


@component
class Scorer:
    prices: Pricing
    totals: Totals
    recent: Annotated[Totals, Latest(60)]
    rows: Table[Row]
    clock: Clock
    chance: Chance
    other: "Prices"
    unmet: Unmet | None = None
    threshold: Annotated[float, "a share"] = 0.9
    _hidden: int = 0

    @on(Paid)
    async def score(self, paid: Paid) -> Scored | None:
        price = await self.prices.price(paid.card)
        return Scored(paid.card) if price > self.threshold else None

    @command(key="card")
    async def review(self, card: str) -> Reviewed:
        return Reviewed(card)

    @query
    async def peek(self, card: str) -> Scored | None:
        return None


class Standing:
    """A clock and a price list that a test made itself."""

    async def price(self, name: str) -> int:
        return 7


def scorer() -> Scorer:
    return Scorer(
        prices=Standing(),
        totals=Totals(),
        recent=Totals(),
        rows=Table(),
        clock=Clock(),
        chance=Chance(),
        other=Prices(),
    )


async def test_a_component_is_built_by_hand() -> None:
    assert await scorer().score(Paid("c")) == Scored("c")
    assert await Prices(rate=3).price("ab") == 6
    assert await scorer().other.price("ab") == 4


def test_a_component_is_frozen_and_equal_to_itself_only() -> None:
    prices = Prices()
    with pytest.raises(dataclasses.FrozenInstanceError):
        prices.rate = 3  # type: ignore[misc]
    assert prices != Prices()
    assert len({prices, Prices()}) == 2
    with pytest.raises(TypeError):
        Prices(3)  # type: ignore[call-arg]  # by name only
    with pytest.raises(TypeError, match="prices"):
        Scorer()  # type: ignore[call-arg]


def test_a_constructor_of_ones_own_is_kept() -> None:
    @component
    class Loaded:
        size: int

        def __init__(self, path: str = "abc") -> None:
            self.size = len(path)

    assert Loaded("abcd").size == 4
    assert described(Loaded).name == "Loaded"


def test_the_types_of_fields_say_what_is_needed() -> None:
    needs = {field.name: field.need for field in described(Scorer).fields}
    assert needs == {
        "prices": "component", "totals": "view", "recent": "view", "rows": "table", "clock": "clock",
        "chance": "chance", "other": "component", "unmet": "setting", "threshold": "setting",
    }  # fmt: skip
    assert [field.name for field in described(Scorer).fields if field.latest] == ["recent"]
    assert [field.kind for field in described(Scorer).needs("view")] == [Totals, Totals]
    assert described(Scorer).needs("setting")[1].kind is float
    assert described(Totals).fields == ()


def test_what_a_component_consumes_and_publishes() -> None:
    assert described(Scorer).sources() == described(Totals).sources() == (Paid,)
    assert described(Scorer).publishes() == (Scored, Reviewed)
    assert (described(Totals).is_view, described(Scorer).is_view) == (True, False)


def test_operations_are_inherited_and_replaced() -> None:
    @component
    class Child(Prices):
        extra: int = 1

        @query
        async def price(self, name: str) -> int:
            return self.extra

        @query
        async def more(self) -> int:
            return 1

    titles = [operation.title for operation in described(Child).operations]
    assert titles == ["Child.price", "Child.more"]
    assert described(Child).operations[0].body is vars(Child)["price"]
    assert [operation.title for operation in described(Prices).operations] == ["Prices.price"]
    assert (Child(rate=5).rate, Child().extra) == (2 + 3, 1)


def test_a_class_without_the_decorator_is_refused() -> None:
    class Bare:
        pass

    with pytest.raises(Refused, match=r"Bare \(.*test_components.py:\d+\) is not a component; decorate it"):
        App("shop", Bare)


def test_two_components_of_one_name_are_refused() -> None:
    def other() -> type:
        @component
        class Prices:
            pass

        return Prices

    with pytest.raises(Refused, match="app shop: two components are called Prices; rename one"):
        App("shop", Prices, other())


def test_an_app_knows_its_parts() -> None:
    app = App("shop", Prices, Totals, Scorer, sample=lambda seed: [Paid(str(seed))])
    assert list(app.components) == ["Prices", "Totals", "Scorer"]
    assert app.events() == {"Paid": Paid, "Scored": Scored, "Reviewed": Reviewed}
    assert [found.name for found in app.consumers(Paid)] == ["Totals", "Scorer"]
    assert app.consumers(Scored) == ()
    assert app.operation("Scorer.score").kind == "on"
    with pytest.raises(Refused, match=r"app shop has no operation `Scorer\.scor`; it has Prices\.price, Sc"):
        app.operation("Scorer.scor")
    assert app.sample is not None
    assert list(app.sample(3)) == [Paid("3")]


def test_a_protocol_stands_for_the_one_component_with_its_face() -> None:
    @component
    class Rival:
        @query
        async def price(self, name: str) -> int:
            return 1

    app = App("shop", Prices, Totals)
    for kind, found in ((Pricing, "Prices"), (Prices, "Prices"), (Totals, "Totals")):
        provider = app.provider(kind)
        assert provider is not None
        assert provider.name == found
    assert app.provider(Unmet) is None
    assert app.provider(Scorer) is None
    assert App("shop", Prices, Rival).provider(Pricing) is None


def test_the_clock_stands_still_while_an_input_is_served() -> None:
    assert abs(Clock().now() - datetime.now(UTC)) < timedelta(seconds=5)
    token = current.set(Call("Scorer", "score", at=1_700_000_000_000_001))
    try:
        assert Clock().now() == datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC)
    finally:
        current.reset(token)


def drawn(call: Call | None, label: str = "") -> float:
    token = current.set(call)
    try:
        return Chance().source(label).random()
    finally:
        current.reset(token)


def test_chance_repeats_with_its_input_and_with_nothing_else() -> None:
    call = Call("Scorer", "score", origin=5, path="/a", seed=1)
    assert drawn(call) == drawn(Call("Scorer", "score", origin=5, path="/a", seed=1, at=9, request="again"))
    others = [
        Call("Scorer", "score", origin=6, path="/a", seed=1),
        Call("Scorer", "score", origin=5, path="/b", seed=1),
        Call("Scorer", "score", origin=5, path="/a", seed=2),
        Call("Desk", "score", origin=5, path="/a", seed=1),
        None,
    ]
    assert len({drawn(call), drawn(call, "label"), *map(drawn, others)}) == 2 + len(others)
    assert drawn(None, "a") == drawn(None, "a") != drawn(None, "b")


@pytest.mark.parametrize("micros", [1_700_000_000_123_457, 1_763_735_130_999_999, 4_102_444_799_999_999, -1])
def test_the_clock_is_exact_to_the_microsecond(micros: int) -> None:
    token = current.set(Call("Scorer", "score", at=micros))
    try:
        now = Clock().now()
    finally:
        current.reset(token)
    assert (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == micros
