"""A callee that is away: over a queue calls wait for it, and what events lead to lies aside until it is back."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from allotrope import App, Event, Table, component, on, query
from allotrope.kernel.errors import Expired, Lost, Overloaded
from tests.runtime.sites.inline import SPLIT, hosted

QUEUED = SPLIT.replace('via = "rpc"', 'via = "queue"')
ACCEPTED = SPLIT.replace('"effect"', '"accepted"').replace("[unit", "window = 2\n[unit", 1)
asked: list[int] = []


class Put(Event, key="who"):
    who: str
    number: int


class Said(Event, key="who"):
    who: str
    number: int


@component
class Model:
    @query
    async def score(self, number: int) -> int:
        asked.append(number)
        await asyncio.sleep(0)
        return number * 2


@component
class Desk:
    model: Model
    scores: Table[int]

    @on(Put)
    async def decide(self, put: Put) -> Said:
        return Said(put.who, await self.model.score(put.number))


@component
class Archive:
    """Takes two kinds of events; its unit is the one that is away."""

    kept: Table[tuple[int, ...]]

    @on(Said)
    async def keep(self, said: Said) -> None:
        await self.kept.put(said.who, (*(await self.kept.get(said.who) or ()), said.number))


@component
class Counter:
    counts: Table[int]

    @on(Said)
    async def count(self, said: Said) -> None:
        await self.counts.put(said.who, (await self.counts.get(said.who) or 0) + 1)


app = App("queues", Model, Desk, Archive, Counter)


async def seen() -> None:
    """Let what was begun come as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_calls_wait_in_order_for_a_callee_that_is_away(tmp_path: Path) -> None:
    asked.clear()
    host, wire = hosted(app, tmp_path, QUEUED)
    await host.start()
    await wire.take_down("Model")
    calls = []
    for number in range(30):
        calls.append(asyncio.create_task(host.of(Model).score(number)))
        await seen()
    meter = host.services.meters["Model.score"]
    assert len(meter.waiting) == 30
    assert meter.waiting == sorted(meter.waiting)
    wire.raise_up("Model")
    assert await asyncio.gather(*calls) == [number * 2 for number in range(30)]
    assert asked == list(range(30))
    assert meter.waiting == []
    assert meter.errors == {}
    await host.drain()


async def test_without_a_queue_they_are_refused(tmp_path: Path) -> None:
    host, wire = hosted(app, tmp_path, SPLIT)
    await host.start()
    await wire.take_down("Model")
    with pytest.raises(Overloaded):
        await host.of(Model).score(1)
    await host.close()


async def test_a_queue_that_is_full_refuses(tmp_path: Path) -> None:
    host, wire = hosted(app, tmp_path, f"{QUEUED}[component.Model]\nconcurrency = 1\nqueue = 2\n")
    await host.start()
    await wire.take_down("Model")
    calls = [asyncio.create_task(host.of(Model).score(number)) for number in range(3)]
    await seen()
    with pytest.raises(Overloaded, match="2 calls wait already"):
        await host.of(Model).score(4)
    wire.raise_up("Model")
    assert await asyncio.gather(*calls) == [0, 2, 4]
    await host.drain()


async def test_a_deadline_ends_the_waiting(tmp_path: Path) -> None:
    host, wire = hosted(app, tmp_path, f"{QUEUED}[component.Model]\ndeadline_s = 0.1\n")
    await host.start()
    await wire.take_down("Model")
    with pytest.raises((Expired, Lost)):
        await host.of(Model).score(1)
    assert host.services.meters["Model.score"].waiting == []
    await host.close()


async def test_a_handler_waits_without_being_run_again(tmp_path: Path) -> None:
    host, wire = hosted(app, tmp_path, QUEUED)
    await host.start()
    await wire.take_down("Model")
    origin = await host.publish(Put("ann", 4))
    station = wire.stations["Desk"]
    async with asyncio.timeout(10):
        while (
            "Model.score" not in station.services.meters or not station.services.meters["Model.score"].waiting
        ):
            await wire.changed(0.01)
    wire.raise_up("Model")
    await host.settled(origin)
    assert station.services.meters["Desk.decide"].started == 1
    (record,) = [r for r in (await host.site.contents()).records if r.title == "Desk.decide"]
    assert [what for what, *_ in record.tape] == ["Model.score"]  # as if it had been there all the time
    await host.drain()


async def test_a_unit_that_is_away_holds_up_nobody_else(tmp_path: Path) -> None:
    host, wire = hosted(app, tmp_path, ACCEPTED)
    await host.start()
    await wire.take_down("Archive")
    for number in range(60):
        await host.publish(Put(f"w{number % 3}", number))
    async with asyncio.timeout(30):
        while wire.calls.count(("Counter", "deliver")) < 60:  # it takes the same events
            await wire.changed(0.05)
    assert host.waiting > 50
    wire.raise_up("Archive")
    await host.settled()
    rows = (await host.site.contents()).tables
    kept = {key: list(msgspec.msgpack.decode(row)) for key, row in rows["Archive.kept"].items()}
    assert kept == {f"w{who}": [number * 2 for number in range(who, 60, 3)] for who in range(3)}
    assert {msgspec.msgpack.decode(row) for row in rows["Counter.counts"].values()} == {20}
    await host.drain()
