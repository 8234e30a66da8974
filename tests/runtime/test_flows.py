"""Who waits for whom: order per key, reading as of an origin, ticks alone, and operations overtaken by a commit."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from allotrope import App, Count, Event, Table, View, command, component, every, on
from allotrope.compose import build
from allotrope.kernel.messages import Tick
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options

STAGE: dict[str, Any] = {}  # what a test hands to the components below: doors to open by name, a log of steps


class Submitted(Event, key="key"):
    key: str
    name: str


class Accepted(Event, key="key"):
    key: str
    name: str


class Looked(Event, key="key"):
    key: str


class Seen(View[Accepted], key="key"):
    count = Count()


async def step(name: str) -> None:
    """Note that something has begun, wait until the test lets it go on, note that it has ended."""
    STAGE["log"].append(name)
    if name in STAGE:
        await STAGE[name].wait()
    STAGE["log"].append(f"{name}.")


@component
class Intake:
    @on(Submitted)
    async def accept(self, event: Submitted) -> Accepted:
        await step(event.name)
        return Accepted(event.key, event.name)

    @every(timedelta(hours=1))
    async def sweep(self, tick: Tick) -> None:
        await step("tick")


@component
class Reader:
    seen: Seen

    @on(Looked)
    async def look(self, event: Looked) -> None:
        STAGE["counts"].append((await self.seen.of(event.key)).count)

    @on(Accepted)
    async def heard(self, event: Accepted) -> None:
        STAGE["heard"].append((event.name, (await self.seen.of(event.key)).count))


@component
class Till:
    """One row under many keys: commands that touch it side by side."""

    rows: Table[int]

    @command(key="key")
    async def add(self, key: str, name: str) -> int:
        total = await self.rows.get("total") or 0
        await step(name)
        await self.rows.put("total", total + 1)
        return total + 1

    @command(key="key")
    async def sum(self, key: str, name: str) -> int:
        total = 0
        async for _, value in self.rows.items():
            total += value
        await step(name)
        await self.rows.put("sum", total)
        return total


app = App("flows", Intake, Seen, Reader, Till)
Layout = tuple[str, Path]


@pytest.fixture(params=["monolith", "modular-monolith"])
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    return request.param, tmp_path


@asynccontextmanager
async def live(layout: Layout, *held: str) -> AsyncIterator[Host]:
    """A host whose steps named in `held` wait for `STAGE[name].set()`."""
    STAGE.clear()
    STAGE.update({name: asyncio.Event() for name in held}, log=[], counts=[], heard=[])
    host = build(app, layout[0], layout[1], Options(ticks=False))
    await host.start()
    try:
        yield host
    finally:
        await host.close()


async def until(reached: Callable[[], object]) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(10):
        for _ in count():
            if reached():
                return
            await asyncio.sleep(0)


async def begun(host: Host, work: Any) -> asyncio.Task[Any]:
    """Begin an input and return once it is in flight."""
    newest = host.flights.newest
    task = asyncio.create_task(work)
    await until(lambda: host.flights.newest > newest)
    return task


async def test_one_key_is_served_in_order_and_others_beside_it(layout: Layout) -> None:
    async with live(layout, "a1") as host:
        tasks = [
            await begun(host, host.publish(Submitted(key, name)))
            for key, name in (("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"))
        ]
        await until(lambda: "b1." in STAGE["log"])
        assert STAGE["log"] == ["a1", "b1", "b1."]
        flows = list(host.flights.flows.values())
        await until(lambda: flows[1].waits_for is flows[0])
        STAGE["a1"].set()
        await asyncio.gather(*tasks)
        await host.settled()
        assert STAGE["log"] == ["a1", "b1", "b1.", "a1.", "a2", "a2.", "a3", "a3."]


async def test_a_reader_waits_for_what_older_inputs_may_still_publish(layout: Layout) -> None:
    async with live(layout, "a1") as host:
        first = await begun(host, host.publish(Submitted("a", "a1")))
        look = await begun(host, host.publish(Looked("a")))
        flows = list(host.flights.flows.values())
        await until(lambda: flows[1].waits_for is flows[0])
        assert STAGE["counts"] == []
        STAGE["a1"].set()
        await asyncio.gather(first, look)
        await host.settled()
        assert STAGE["counts"] == [1]


async def test_a_reader_sees_neither_its_own_event_nor_later_ones(layout: Layout) -> None:
    async with live(layout, "a1", "a2") as host:
        tasks = [
            await begun(host, host.publish(Submitted(key, name))) for key, name in (("a", "a1"), ("b", "a2"))
        ]
        STAGE["a2"].set()
        await until(lambda: "a2." in STAGE["log"])
        STAGE["a1"].set()
        await asyncio.gather(*tasks)
        await host.publish(Submitted("a", "a3"))
        await host.settled()
        assert sorted(STAGE["heard"]) == [("a1", 0), ("a2", 0), ("a3", 1)]


async def test_a_tick_has_its_component_to_itself(layout: Layout) -> None:
    async with live(layout, "a1", "tick") as host:
        tasks = [
            await begun(host, host.publish(Submitted("a", "a1"))),
            await begun(host, host.tick("Intake.sweep", 3_600_000_000)),
            await begun(host, host.publish(Submitted("b", "b1"))),
        ]
        flows = list(host.flights.flows.values())
        await until(lambda: flows[1].waits_for is flows[0] and flows[2].waits_for is flows[1])
        assert STAGE["log"] == ["a1"]
        STAGE["a1"].set()
        await until(lambda: "tick" in STAGE["log"])
        assert STAGE["log"] == ["a1", "a1.", "tick"]
        STAGE["tick"].set()
        await asyncio.gather(*tasks)
        await host.settled()
        assert STAGE["log"] == ["a1", "a1.", "tick", "tick.", "b1", "b1."]


async def test_an_operation_overtaken_in_what_it_read_runs_again(layout: Layout) -> None:
    async with live(layout, "slow") as host:
        till = host.of(Till)
        slow = await begun(host, till.add("a", "slow"))
        await until(lambda: "slow" in STAGE["log"])
        assert await till.add("b", "quick") == 1
        STAGE["slow"].set()
        assert await slow == 2
        assert STAGE["log"] == ["slow", "quick", "quick.", "slow.", "slow", "slow."]


async def test_reading_a_whole_table_is_overtaken_by_any_of_its_rows(layout: Layout) -> None:
    async with live(layout, "sum") as host:
        till = host.of(Till)
        total = await begun(host, till.sum("a", "sum"))
        await until(lambda: "sum" in STAGE["log"])
        await till.add("b", "quick")
        STAGE["sum"].set()
        assert await total == 1


async def test_what_nobody_else_has_read_is_not_run_again(layout: Layout) -> None:
    async with live(layout, "a1") as host:
        waiting = await begun(host, host.publish(Submitted("a", "a1")))
        assert await host.of(Till).add("a", "quick") == 1
        STAGE["a1"].set()
        await waiting
        await host.settled()
        assert STAGE["log"] == ["a1", "quick", "quick.", "a1."]


async def test_an_input_outlives_the_caller_who_brought_it(layout: Layout) -> None:
    async with live(layout, "a1") as host:
        caller = await begun(host, host.publish(Submitted("a", "a1")))
        await until(lambda: "a1" in STAGE["log"])
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        STAGE["a1"].set()
        await host.settled()
        assert STAGE["heard"] == [("a1", 0)]
        assert STAGE["log"][-1] == "a1."
