"""Whatever is cut between a host and its units, and whenever: each delivery has one effect, that of one process."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allotrope import App, Count, Event, Table, View, component, on, query
from allotrope.kernel.errors import Lost
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input
from tests.runtime.sites.inline import SPLIT, Fault, Inline, hosted
from tests.runtime.sites.test_apart import DAY, Gifts, NoGift, Rates, app, expected, feed, order, same

JOINED = SPLIT.replace(
    '[unit.each]\ncomponents = ["*"]',
    '[unit.sales]\ncomponents = ["Spending", "Pricer"]\n[unit.each]\ncomponents = ["Shares", "Rates", "Gifts"]',
)


class Asked(Event, key="name"):
    name: str


class Told(Event, key="name"):
    name: str
    answer: int
    before: int


class Model:
    """What is outside of the app: it answers otherwise each time, and only when it is let."""

    asked = 0
    known: asyncio.Event  # set once somebody has an answer
    gate: asyncio.Event  # to use it


@component
class Oracle:
    @query(repeatable=False)
    async def answer(self, name: str) -> int:
        Model.asked += 1
        return Model.asked


@component
class Teller:
    oracle: Oracle
    told: Table[int]

    @on(Asked)
    async def tell(self, asked: Asked) -> Told:
        before = await self.told.get(asked.name) or 0
        answer = await self.oracle.answer(asked.name)
        Model.known.set()
        await Model.gate.wait()
        if before:
            raise ValueError("told already")
        await self.told.put(asked.name, answer)
        return Told(asked.name, answer, before)


@component
class Listener:
    heard: Table[int]

    @on(Told)
    async def hear(self, told: Told) -> None:
        await self.heard.put(told.name, (await self.heard.get(told.name) or 0) + told.answer)


oracles = App("oracles", Oracle, Teller, Listener)


class Seen(Event, key="name"):
    name: str


class Sights(View[Seen], key="name"):
    seen = Count()


@component
class Guide:
    sights: Sights

    @query
    async def seen(self, name: str) -> int:
        return (await self.sights.of(name)).seen


sights = App("sights", Sights, Guide)


@pytest.fixture
def gate() -> asyncio.Event:
    Model.asked, Model.known, Model.gate = 0, asyncio.Event(), asyncio.Event()
    return Model.gate


def first(unit: str, method: str, fault: Fault) -> Callable[[str, str], Fault]:
    """Return what lets one fault befall the first letter of a kind."""
    left = [fault]
    return lambda to, what: left.pop() if left and (to, what) == (unit, method) else ""


async def until(wire: Inline, call: tuple[str, str], count: int) -> None:
    while wire.calls.count(call) < count:
        await wire.changed()


async def test_two_attempts_at_once_have_one_effect(tmp_path: Path, gate: asyncio.Event) -> None:
    """The second one reads what the first one has written: it must not be what counts."""
    host, wire = hosted(oracles, tmp_path)
    await host.start()
    wire.fault = first("Teller", "deliver", "late")
    await host.publish(Asked("ann"))
    await until(wire, ("Oracle", "ask"), 1)
    await until(wire, ("Teller", "deliver"), 2)
    gate.set()
    await host.settled()
    kept = await host.site.contents()
    (told,) = (record for record in kept.records if record.title == "Teller.tell")
    assert kept.tables["Teller.told"] == kept.tables["Listener.heard"]
    assert (told.error, len(told.events), host.site.parked) == ("", 1, 0)
    await host.close()


async def test_an_answer_that_cannot_be_repeated_is_asked_for_once(
    tmp_path: Path, gate: asyncio.Event
) -> None:
    host, wire = hosted(oracles, tmp_path)
    await host.start()
    await host.publish(Asked("ann"))
    await Model.known.wait()
    await wire.take_down("Teller", back=True)  # it has the answer, and has not used it yet
    gate.set()
    await host.settled()
    kept = await host.site.contents()
    assert Model.asked == 1
    assert list(kept.tables["Listener.heard"].values()) == list(kept.tables["Teller.told"].values())
    await host.close()


@pytest.mark.parametrize("fault", ["lose", "late", "end", "refuse"])
async def test_a_command_is_carried_out_once(tmp_path: Path, fault: Fault) -> None:
    host, wire = hosted(app, tmp_path)
    await host.start()
    await feed(host, range(20))
    await host.settled()
    held = await host.of(Gifts).gift("c3")
    wire.fault = first("Gifts", "deliver", fault)
    traced = Input(request="r", traceparent=f"00-{1:032x}-{1:016x}-01")
    assert await host.tell("Gifts.take_back", ("c3",), traced) == held
    with pytest.raises(NoGift):
        await host.of(Gifts).take_back("c3")
    missed = [span.status for span in host.services.tracer.finished if span.name == "deliver to Gifts"]
    assert missed == ["Overloaded" if fault == "refuse" else "Lost"]
    await host.close()


async def test_a_stream_whose_unit_ends_is_lost_after_what_came(tmp_path: Path) -> None:
    host, wire = hosted(app, tmp_path)
    await host.start()
    got: list[int] = []

    async def read(steps: AsyncIterator[int]) -> None:
        async for number in steps:
            got.append(number)
            if number == 1:
                await wire.take_down("Rates", back=True)

    with pytest.raises(Lost, match="Rates has ended"):
        await read(host.of(Rates).steps(5))
    assert got == [0, 1]
    assert [n async for n in host.of(Rates).steps(2)] == [0, 1]
    await host.close()


async def test_a_unit_of_several_components_with_a_view_among_them(tmp_path: Path) -> None:
    host, wire = hosted(app, tmp_path / "joined", JOINED)
    assert set(wire.plan.units) == {"sales", "Shares", "Rates", "Gifts"}
    await host.start()
    await feed(host, range(60))
    await wire.take_down("sales", back=True)
    await feed(host, range(60, 100))
    await host.settled()
    assert ("sales", "read") not in wire.calls  # its view is read where it is
    same(await host.site.contents(), await expected(tmp_path / "whole", 100))
    await host.close()


@pytest.mark.parametrize("step", ["outbox", "relayed"])
async def test_what_was_not_relayed_is_taken_up(tmp_path: Path, step: str) -> None:
    host, wire = hosted(app, tmp_path / "split")
    await host.start()
    await feed(host, range(20))
    await host.settled()
    wire.fault = lambda unit, method: "refuse" if method == step else ""
    await feed(host, range(20, 60))
    await host.flights.settled()
    assert len(wire.stations["Pricer"].ledger.outbox()) == 40
    await host.close()
    for unit in list(wire.served):
        await wire.take_down(unit)
    host, wire = hosted(app, tmp_path / "split")
    await host.start()
    await feed(host, range(60, 100))
    await host.settled()
    same(await host.site.contents(), await expected(tmp_path / "whole", 100))
    await host.close()


async def test_a_view_that_comes_back_is_loaded_while_events_keep_coming(tmp_path: Path) -> None:
    host, wire = hosted(sights, tmp_path)
    await host.start()
    await wire.take_down("Sights", back=True)
    sent = 0
    async with asyncio.timeout(20):
        while not wire.stations["Sights"].loaded:
            await host.publish(Seen("sea"))
            sent += 1
    await host.publish(Seen("sea"))
    while (found := await host.of(Guide).seen("sea")) <= sent:
        await wire.changed()
    assert found == sent + 1
    await host.close()


# -- at random

COUNT = 24
CUTS = st.dictionaries(
    st.integers(0, 250), st.sampled_from(("refuse", "lose", "late", "end")), max_size=12
)  # by the number of the letter


async def cut(folder: Path, cuts: dict[int, Fault], text: str) -> tuple[Host, Inline]:
    host, wire = hosted(app, folder, text)
    wire.keeps = True
    numbers = iter(range(1 << 30))
    wire.fault = lambda unit, method: cuts.get(next(numbers), "")
    await host.start()
    return host, wire


@settings(max_examples=40)
@given(cuts=CUTS, text=st.sampled_from((SPLIT, JOINED)), killed=st.none() | st.integers(1, COUNT - 1))
def test_random_cuts_change_nothing(cuts: dict[int, Fault], text: str, killed: int | None) -> None:
    async def run(folder: Path) -> None:
        host, wire = await cut(folder / "split", cuts, text)
        await feed(host, range(killed or COUNT))
        if killed is not None:
            await host.close()
            for unit in list(wire.served):
                await wire.take_down(unit)
            host, wire = await cut(folder / "split", {}, text)
            await feed(host, range(COUNT))
        await host.settled()
        wire.fault = lambda unit, method: ""
        same(await host.site.contents(), await expected(folder / "whole", COUNT))
        await host.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(asyncio.wait_for(run(Path(folder)), 60))


def test_the_input_has_windows_that_matter() -> None:
    """Else the property above would hold for views that nobody feeds."""
    assert order(7).customer == order(0).customer
    assert DAY + timedelta(hours=7) == order(7).at
