"""Apps that know each other by contracts only: joined for who runs them, compared before one starts, planned apart."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from allotrope import (
    App,
    Count,
    Event,
    PlanRefused,
    Refused,
    Table,
    Tick,
    View,
    command,
    component,
    every,
    on,
    query,
)
from allotrope.compose import planned as plan
from allotrope.compose import preset_text
from allotrope.planning.contracts.agreement import disagreements, known_of, unfit
from allotrope.planning.contracts.contract import Contract, contract_of
from allotrope.planning.contracts.joining import joined
from allotrope.planning.contracts.shares import share_of
from allotrope.planning.contracts.stubs import module_of, stub_of
from allotrope.planning.documents import document_of
from allotrope.planning.plans import Plan

LAYOUT = """
durability = "process"
[unit.a]
components = ["Orders"]
app = "orders"
[unit.b]
components = ["Shipping"]
app = "shipping"
[unit.rest]
components = ["*"]
[edge."*"]
via = "rpc"
[edge."Orders -> Shipping"]
via = "rpc"
[topic."*"]
via = "log"
[component.Orders]
concurrency = 3
[setting]
"Shipping.fast" = true
[resilience.Shipping]
retries = 0.2
[gateway.alias]
"/days" = "Shipping.days"
"""


class Placed(Event, key="id"):
    id: str


class Ordered(Event, key="id"):
    id: str
    grams: int = 0


def orders() -> App:
    @component
    class Orders:
        kept: Table[int]

        @on(Placed)
        async def take(self, placed: Placed) -> Ordered | None:
            return Ordered(placed.id)

        @every(timedelta(minutes=1))
        async def sweep(self, tick: Tick) -> tuple[Ordered, ...]:
            return ()

        @query
        async def cost(self, id: str) -> int:
            return await self.kept.get(id) or 0

        @query
        async def twice(self, grams: int) -> int:
            return 2 * grams

    return App("orders", Orders)


def shipping(source: type[Event], *, grams: type = int, more: bool = False) -> App:
    class Shipped(Event, key="id"):
        id: str

    class Lost(Event, key="id"):
        id: str

    @component
    class Shipping:
        fast: bool = False

        @on(source)
        async def ship(self, event: source) -> Shipped | Lost if more else Shipped:
            return Shipped(event.id)

        @query
        async def days(self, weight: grams) -> int:
            return 1

        @command(key="id")
        async def hold(self, id: str) -> None:
            return None

    return App("shipping", Shipping)


def read(text: str) -> Any:
    return document_of(text, "shop.toml", preset_text)


def operator(*apps: App, contracts: Any = None) -> App:
    made = module_of(*joined([contract_of(app) for app in apps]), runs=True)
    return App("shop", *(getattr(made, name) for app in apps for name in app.components))


def test_a_stub_to_run_has_the_faces_that_it_was_made_from() -> None:
    apps = orders(), shipping(Ordered)
    shop = operator(*apps)
    again = contract_of(shop, whole=True)
    for app in apps:
        for name, face in contract_of(app).components.items():
            bare = msgspec.structs.replace(face, tables={}, hash="")
            assert msgspec.structs.replace(again.components[name], hash="") == bare
            assert known_of(shop).faces[name] == face.hash
        assert disagreements(known_of(shop), known_of(app), app.components) == ()


def test_an_event_of_two_contracts_is_that_of_who_publishes_it() -> None:
    class Older(Event, key="id"):
        id: str

    Older.__name__ = "Ordered"
    both = contract_of(orders()), contract_of(shipping(Older))
    for contracts in (both, both[::-1]):
        whole, owners = joined(contracts)
        assert [field.name for field in whole.events["Ordered"].fields] == ["id", "grams"]
        assert owners == {"Orders": "orders", "Shipping": "shipping"}
    shop = operator(orders(), shipping(Older))
    assert disagreements(known_of(shop), known_of(shipping(Older)), ("Shipping",)) == ()
    assert disagreements(known_of(shop), known_of(orders()), ("Orders",)) == ()


def test_what_stands_for_two_things_is_refused() -> None:
    class Other(Event, key="number"):
        number: int

    Other.__name__ = "Ordered"
    with pytest.raises(Refused, match="Ordered is one thing in each of the contracts of orders and shipping"):
        joined([contract_of(orders()), contract_of(shipping(Other))])
    with pytest.raises(Refused, match=r"component Orders is in the contracts of orders and of orders2"):
        joined([contract_of(orders()), contract_of(App("orders2", orders().components["Orders"].kind))])


def test_a_view_cannot_be_run_by_its_contract() -> None:
    class Counted(View[Placed]):
        orders = Count()

    app = App("orders", orders().components["Orders"].kind, Counted)
    stub_of(contract_of(app))
    with pytest.raises(
        Refused, match="Counted is a view, which cannot be run by who knows its contract only"
    ):
        stub_of(contract_of(app), runs=True)


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        (lambda: shipping(Ordered, grams=str), ["Shipping.days(weight): `int` became `str`"]),
        (lambda: shipping(Ordered, more=True), ["Shipping.ship: publishes Lost too"]),
        (lambda: shipping(Placed), ["Shipping.ship: takes Ordered no more", "event Ordered: is gone"]),
    ],
)
def test_a_unit_that_means_something_else_is_told_so(changed: Any, wrong: list[str]) -> None:
    shop = known_of(operator(orders(), shipping(Ordered)))
    found = [str(change) for change in disagreements(shop, known_of(changed()), ("Shipping",))]
    assert len(found) == len(wrong)
    assert all(text.startswith(start) for text, start in zip(found, wrong, strict=True))


def test_who_asks_is_held_to_what_it_counts_on() -> None:
    stub = module_of(contract_of(shipping(Ordered)))
    asks = App("orders", *(part.kind for part in orders().components.values()), stub.Shipping)
    fine, other = (known_of(operator(orders(), shipping(Ordered, grams=kind))) for kind in (int, str))
    assert disagreements(fine, known_of(asks), ("Orders",)) == ()
    (change,) = disagreements(other, known_of(asks), ("Orders",))
    assert change.place == "Shipping.days(weight)"


# -- plans


def test_each_plans_what_it_knows() -> None:
    for app, units in ((orders(), {"a"}), (shipping(Ordered), {"b"})):
        made = plan(app, read(LAYOUT))
        assert made.apart
        assert {*made.units} == units
    shop = operator(orders(), shipping(Ordered))
    whole = plan(shop, read(LAYOUT.replace('[unit.rest]\ncomponents = ["*"]\n', "")))
    assert whole.units == {"a": ("Orders",), "b": ("Shipping",)}
    assert whole.downstream["Orders"] == ("Shipping",)
    assert share_of(shop, read(LAYOUT)) == read(LAYOUT)


def test_each_judges_its_own_settings() -> None:
    wrong = read(LAYOUT.replace("true", '"x"'))
    plan(orders(), wrong)
    with pytest.raises(PlanRefused, match=r"Shipping\.fast"):
        plan(shipping(Ordered), wrong)


def test_a_handler_does_not_ask_what_depends_on_timing() -> None:
    made = module_of(contract_of(orders()))

    def asking(ask: Any) -> Plan:
        @component
        class Shipping:
            orders: made.Orders
            fast: bool = False

            ship = ask

        return plan(App("shipping", Shipping, made.Orders), read(LAYOUT))

    @on(made.Ordered)
    async def ship(self: Any, event: made.Ordered) -> None:
        await self.orders.twice(event.grams)

    asking(ship)

    @on(made.Ordered)
    async def ship(self: Any, event: made.Ordered) -> None:
        await self.orders.cost(event.id)

    with pytest.raises(
        PlanRefused, match=r"Shipping\.ship reads the table Orders\.kept of another component"
    ):
        asking(ship)


def test_a_unit_has_one_place_where_it_runs() -> None:
    shop = operator(orders(), shipping(Ordered))
    for key, why in (('foreign = "http://x:1"', "say one of the two"), ("each = true", "leave out `each`")):
        with pytest.raises(PlanRefused, match=why):
            plan(shop, read(LAYOUT.replace('app = "orders"', f'app = "orders"\n{key}')))


def test_the_text_of_a_stub_to_run_is_python(tmp_path: Path) -> None:
    text = stub_of(*joined([contract_of(orders()), contract_of(shipping(Ordered))]), runs=True)
    compile(text, "known.py", "exec")
    assert "@every(timedelta(seconds=60.0))" in text
    assert '"cost": ("Orders.kept",)' in text


def test_a_release_may_be_taken_back_unless_its_events_may_wait() -> None:
    def ringing() -> type[Event]:
        class Rung(Event, key="shop"):
            shop: str

        return Rung

    def noted() -> type[Event]:
        class Rung(Event, key="shop"):
            shop: str
            note: str = ""

        return Rung

    class Opened(Event, key="shop"):
        shop: str

    def release(rung: type[Event], *, asked: bool = False, opens: bool = False) -> Contract:
        class Till:
            async def ring(self, one: Any) -> None: ...

            ring = on(rung)(ring)
            if asked:

                @query
                async def rings(self, shop: str, most: int = 1) -> int:
                    return most

            if opens:

                @on(Opened)
                async def open(self, opened: Opened) -> None: ...

        return contract_of(App("till", component(Till)), whole=True)

    old, new, last = (
        release(ringing()),
        release(noted(), asked=True),
        release(noted(), asked=True, opens=True),
    )
    assert unfit(old, new) == unfit(new, old) == unfit(new, last) == ()
    assert [change.place for change in unfit(last, new)] == ["event Opened"]
