"""A plan of a sound app, and how every fault is reported at once."""

import math
import os
import random
import secrets
import time
import uuid
from datetime import date, datetime
from random import randint
from typing import Annotated

import pytest

from allotrope.kernel.components import App, Chance, Clock, Latest, component
from allotrope.kernel.errors import PlanRefused
from allotrope.kernel.operations import command, on, query
from allotrope.planning.documents import document_of
from allotrope.planning.graph import Reach
from allotrope.planning.plans import plan
from allotrope.planning.topology import Unit
from tests.planning.cases.events import SHOP, Closed, Desk, Features, Payment, Scored, Spending
from tests.planning.refusal import faults, planned, preset, refusal, warnings


def test_a_sound_app_has_a_plan_under_every_preset() -> None:
    for name in ("monolith", "modular-monolith", "loopback"):
        made = plan(App("shop", *SHOP), document_of(preset(name), f"{name}.toml", preset))
        assert made.units == {"all": ("Spending", "Intake", "Features", "Scorer", "Desk")}
        assert made.warnings == ()


def test_presets_are_short() -> None:
    assert all(len(preset(name).splitlines()) <= 20 for name in ("monolith", "modular-monolith", "loopback"))


def test_a_plan_tells_calls_reads_and_where_events_lead() -> None:
    made = planned(*SHOP)
    assert made.calls["Scorer.score"] == (Reach("features", "Features", "total"),)
    assert made.calls["Desk.open"] == ()
    assert made.reads == {
        "Intake.accept": (),
        "Features.total": ("Spending",),
        "Scorer.score": ("Spending",),
        "Desk.open": (),
        "Desk.waiting": (),
        "Desk.close": (),
    }
    assert made.downstream == {
        "Spending": (),
        "Intake": ("Spending", "Scorer", "Desk"),
        "Features": (),
        "Scorer": ("Desk",),
        "Desk": (),
    }


@component
class Hurried:
    spending: Annotated[Spending, Latest(60)]
    features: Annotated[Features, Latest(5)]

    @on(Payment)
    async def score(self, payment: Payment) -> Scored:
        await self.spending.of(payment.card)
        return Scored(payment.card, float(await self.features.total(payment.card)))

    @query(repeatable=False)
    async def guess(self) -> float:
        return 0.5


def test_what_is_loose_is_listed_and_not_waited_for() -> None:
    made = planned(Spending, Features, Hurried)
    assert made.loose == (("Hurried", "spending", "Spending"), ("Hurried", "features", "Features"))
    assert made.reads["Hurried.score"] == ()
    assert made.unrepeatable == ("Hurried.guess",)
    assert [text.partition("  ")[2] for text in made.warnings if "Latest" in text] == [
        f"Hurried.{field} is read without waiting, and nothing holds it to its bound yet, "
        f"{bound} s; drop Latest where that matters"
        for field, bound in (("features", 5), ("spending", 60))
    ]


@component
class Unbounded:
    spending: Annotated[Spending, Latest(0)]
    features: Annotated[Features, Latest(math.inf)]

    @query
    async def score(self, card: str) -> float:
        return float((await self.spending.of(card)).count + await self.features.total(card))


def test_a_bound_bounds_something() -> None:
    assert faults(Spending, Features, Unbounded) == [
        f"Unbounded.{field} may be {bound} s old, which is no bound; write the seconds, as Latest(60)"
        for field, bound in (("features", "inf"), ("spending", "0"))
    ]


def test_all_faults_come_at_once_in_order_of_place() -> None:
    text = '[unit.hot]\ncomponents = ["Scorr"]\nspeed = 3\n[component.Dsk]\n'
    with pytest.raises(PlanRefused) as caught:
        planned(Spending, Desk, Hurried, text=text)
    file, line = __file__, Hurried.score.__code__.co_firstlineno
    assert str(caught.value).splitlines() == [
        "4 faults in shop.toml",
        f"  {file}:{line - 5}  Hurried.features needs `Features`, which app shop does not have; "
        "add it to App(...). Known: Desk, Hurried, Spending.",
        "  shop.toml:3  unit `hot` lists `Scorr`, which app shop does not have. "
        "Known: Desk, Hurried, Spending.",
        "  shop.toml:4  `speed` is no key of unit `hot`. "
        f"Known: {', '.join(sorted(Unit.__struct_fields__))}.",
        "  shop.toml:5  limits of `Dsk`, which app shop does not have. Nearest: `Desk`.",
    ]


@component
class Restless:
    clock: Clock
    chance: Chance

    @query
    async def drawn(self) -> str:
        at = self.clock.now()
        seeded = self.chance.source().random()
        generator = random.Random(3)
        drawn = random.random() + randint(1, 2) + generator.random()
        token = secrets.token_hex() + uuid.uuid4().hex + os.urandom(1).hex()
        return f"{at} {seeded} {drawn} {token}"

    @query
    async def dated(self) -> str:
        return f"{time.time()} {datetime.now()} {date.today()}"


def test_the_wall_clock_and_unseeded_chance_are_warned_of() -> None:
    chance = "Restless.drawn draws unseeded chance, `{}`, so a replay differs; use a field `chance: Chance`"
    clock = (
        "Restless.dated reads the wall clock, `{}`, so a replay differs; "
        "take the event's time, or a field `clock: Clock`"
    )
    names = ("randint", "random.random", "os.urandom", "secrets.token_hex", "uuid.uuid4")
    moments = ("date.today", "datetime.now", "time.time")
    found = warnings(Restless)
    assert found == [*map(chance.format, names), *map(clock.format, moments)]


@component
class Clerk:
    @command(deadline_s=0.002)
    async def file(self, name: str) -> None:
        return None

    @query(faults=(Closed,))
    async def find(self, name: str) -> str:
        if not name:
            raise Closed(card=name)
        return name


@component
class Office:
    clerk: Clerk

    @query
    async def heedless(self, name: str) -> str:
        return await self.clerk.find(name)

    @query
    async def careful(self, name: str) -> str:
        try:
            return await self.clerk.find(name)
        except Closed:
            return ""

    @query(faults=(Closed,))
    async def open(self, name: str) -> str:
        return await self.clerk.find(name)


def test_a_poor_fit_is_warned_of() -> None:
    text = """
durability = "process"
[topic."*"]
via = "log"
[unit.all]
gpu = 0.5
[unit.none]
components = []
[edge."Clerk -> Office"]
via = "loopback"
"""
    assert warnings(Clerk, Office, text=text) == [
        "command Clerk.file has no key, so its calls run one at a time; @command(key=...)",
        "command Clerk.file must answer within 2 ms, but waits for a durable log; "
        "allow 5 ms, or make it a query",
        "Office.heedless calls Clerk.find, which may raise Closed; "
        "catch it or declare it, else the caller sees Failed",
        "unit `all` has a GPU and runs 2 components; infer in a unit of its own",
        "unit `none` runs no component",
        "edge `Clerk -> Office` has no effect: Clerk never calls Office",
    ]


def test_a_fault_is_shown_once() -> None:
    assert len(refusal(Spending, Desk, Hurried)) == 1
