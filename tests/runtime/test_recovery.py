"""What a start takes up: each event once, by who it was accepted for; under another version, after a power cut."""

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from allotrope import App, Count, Event, Refused, Table, View, component, on, query
from allotrope.compose import build
from allotrope.runtime.host import Host

GATE: dict[str, asyncio.Event] = {}


class Order(Event, key="id"):
    id: str


class Noted(Event, key="id"):
    id: str


class Notes(View[Noted]):
    count = Count()


@component
class Clerk:
    seen: Table[int]

    @on(Order)
    async def note(self, order: Order) -> Noted:
        await self.seen.put(order.id, (await self.seen.get(order.id) or 0) + 1)
        return Noted(order.id)

    @query
    async def times(self, id: str) -> int:
        return await self.seen.get(id) or 0


@component
class Slow:
    heard: Table[int]

    @on(Noted)
    async def hear(self, noted: Noted) -> None:
        GATE["hearing"].set()
        await GATE["slow"].wait()
        await self.heard.put(noted.id, (await self.heard.get(noted.id) or 0) + 1)

    @query
    async def times(self, id: str) -> int:
        return await self.heard.get(id) or 0


def renamed() -> type:
    """Return the clerk of the next version: the same handler under another name."""

    @component
    class Clerk:
        seen: Table[int]

        @on(Order)
        async def write_down(self, order: Order) -> Noted:
            await self.seen.put(order.id, (await self.seen.get(order.id) or 0) + 1)
            return Noted(order.id)

        @query
        async def times(self, id: str) -> int:
            return await self.seen.get(id) or 0

    return Clerk


APP = App("shop", Clerk, Slow, Notes)


@pytest.fixture(autouse=True)
def _gate() -> None:
    GATE.update(slow=asyncio.Event(), hearing=asyncio.Event())


async def opened(folder: Path, app: App = APP) -> Host:
    host = build(app, "modular-monolith", folder)
    try:
        await host.start()
    except Refused:
        await host.close()
        raise
    return host


async def stopped_half_way(folder: Path) -> None:
    """Leave an order whose note was taken and not yet heard."""
    host = await opened(folder)
    await host.publish(Order("a"))
    await GATE["hearing"].wait()
    await host.close()


async def test_what_waits_for_a_handler_that_is_gone_is_not_passed_over(tmp_path: Path) -> None:
    await stopped_half_way(tmp_path)
    with pytest.raises(
        Refused, match=r"an unfinished Noted, waits for Slow\.hear, which this app does not have"
    ):
        await opened(tmp_path, App("shop", Clerk, Notes))
    GATE["slow"].set()
    host = await opened(tmp_path)
    await host.drain()
    host = await opened(tmp_path, App("shop", Clerk, Notes))
    assert await host.publish(Order("b")) == 2
    await host.drain()
    host = await opened(tmp_path)  # what came while it was gone was not accepted for it
    await host.settled()
    assert [await host.of(Slow).times(id) for id in ("a", "b")] == [1, 0]
    await host.close()


async def test_a_handler_with_a_new_name_takes_nothing_twice(tmp_path: Path) -> None:
    await stopped_half_way(tmp_path)
    GATE["slow"].set()
    clerk: Any = renamed()
    for _ in range(2):
        host = await opened(tmp_path, App("shop", clerk, Slow, Notes))
        await host.settled()
        found = [await host.of(kind).times("a") for kind in (clerk, Slow)]
        assert found == [1, 1]
        assert (await host.of(Notes).of("a")).count == 1
        await host.close()


async def test_after_a_power_cut_an_event_counts_once(tmp_path: Path) -> None:
    """The newest commits of the ledger are gone, and the log has the events that they published."""
    live, cut = tmp_path / "live", tmp_path / "cut"
    GATE["slow"].set()
    host = await opened(live)
    await host.publish(Order("a"))
    await host.settled()
    shutil.copytree(live, cut)
    await host.publish(Order("b"))
    await host.publish(Order("b"))
    await host.settled()
    for file in live.glob("log.*"):
        shutil.copy(file, cut)
    await host.close()
    for name in ("log", "ledger"):
        (cut / f"{name}.lock").write_text("1 another-boot process")
    for _ in range(2):
        host = await opened(cut)
        await host.settled()
        assert [await host.of(Clerk).times(id) for id in "ab"] == [1, 2]
        assert [await host.of(Slow).times(id) for id in "ab"] == [1, 2]
        assert [(await host.of(Notes).of(id)).count for id in "ab"] == [1, 2]
        names = Counter(entry.envelope.name for entry in await host.log.read())
        assert set(names.values()) == {1}
        await host.close()
