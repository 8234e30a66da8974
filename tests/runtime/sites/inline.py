"""Units in one process: every letter goes over a wire that the test holds, and can cut."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal

from allotrope.kernel.components import App
from allotrope.kernel.errors import Lost, Overloaded
from allotrope.logs.sqlite import SqliteLog
from allotrope.planning.documents import document_of
from allotrope.planning.plans import Plan, plan
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from allotrope.runtime.sites.afar import abroad
from allotrope.runtime.sites.apart import Apart
from allotrope.runtime.sites.station import Station
from allotrope.runtime.sites.wire import Address, Letter, Served
from allotrope.stores.sqlite import SqliteLedger

SPLIT = """
durability = "process"
reply = "effect"
[unit.each]
components = ["*"]
each = true
[edge."*"]
via = "rpc"
[topic."*"]
via = "log"
"""
LINKS = {"rpc": lambda operation, ask: ask}


def split(app: App, text: str = SPLIT) -> Plan:
    """Return the plan of an app with a unit for each component."""
    return plan(app, document_of(text, "split.toml", lambda name: ""))


Fault = Literal["", "refuse", "lose", "late", "end"]


class Inline:
    """A wire to stations in this process, one for each unit.

    `losses` says how many of the next answers of a method get lost. `fault` is asked at each letter what shall befall
    it: nobody takes it, its answer gets lost or comes when nobody waits any more, its unit ends and comes back.
    """

    def __init__(self, made: Plan, folder: Path) -> None:
        self.plan, self.folder = made, folder
        self.stations: dict[str, Station] = {}
        self.served: dict[str, Served] = {}
        self.lives: dict[str, int] = {}
        self.losses: dict[str, int] = {}
        self.running: dict[str, set[asyncio.Future[Letter]]] = {}
        self.calls: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], Fault] = lambda unit, method: ""
        self.keeps = False  # whether a unit that was ended comes back at once
        self._news = asyncio.Event()
        for unit in made.units:
            self.raise_up(unit)

    def raise_up(self, unit: str) -> None:
        """Start a unit, with what its former life has left."""
        ledger = SqliteLedger(self.folder / unit)
        self.stations[unit] = Station(self.plan, unit, ledger, abroad(self.plan, self, LINKS, unit))
        self.served[unit] = self.stations[unit].served()
        self.lives[unit] = self.lives.get(unit, 0) + 1
        self.tell()

    async def take_down(self, unit: str, *, back: bool = False) -> None:
        """End a unit: what it runs is cut."""
        if self.served.pop(unit, None) is None:
            return  # somebody else is at it
        for work in self.running.pop(unit, set()):
            work.cancel()
        await self.stations.pop(unit).close()
        self.tell()
        if back:
            self.raise_up(unit)

    def tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def call(self, to: Address, method: str, letter: Letter, timeout_s: float | None = None) -> Letter:
        unit = to.unit
        if unit not in self.served or (to.replica and to.replica not in self.replicas(unit)):
            raise Overloaded(f"{to} is not there", 0.1)
        self.calls.append((unit, method))
        self.tell()
        fault = self.fault(unit, method)
        if fault == "refuse":
            raise Overloaded(f"{to} is busy", 0.1)
        work = asyncio.ensure_future(self.served[unit].methods[method](letter, timeout_s))
        running = self.running.setdefault(unit, set())
        running.add(work)
        work.add_done_callback(running.discard)
        work.add_done_callback(lambda ended: self.tell())
        if fault == "late":
            await asyncio.sleep(0)  # it has begun
            raise Lost("nobody waits any more")
        if fault == "end":
            await asyncio.sleep(0)
            await self.take_down(unit, back=True)
            raise Lost(f"unit {unit} has ended")
        try:
            reply = await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.cancelled() and not ((task := asyncio.current_task()) and task.cancelling()):
                raise Lost(f"unit {unit} has ended") from None
            raise
        if fault == "lose" or self.losses.get(method):
            self.losses[method] = max(self.losses.get(method, 0) - 1, 0)
            raise Lost("the link broke")
        return reply

    async def stream(
        self, to: Address, method: str, letter: Letter, timeout_s: float | None = None
    ) -> AsyncIterator[Letter]:
        life = self.replicas(to.unit)
        async for reply in self.served[to.unit].streams[method](letter, timeout_s):
            if self.replicas(to.unit) != life:
                raise Lost(f"unit {to.unit} has ended")
            yield reply

    def replicas(self, unit: str) -> tuple[str, ...]:
        return (f"{unit}-{self.lives[unit]}",) if unit in self.served else ()

    async def changed(self, timeout_s: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            pass

    async def expel(self, replica: str) -> None:
        unit = replica.rpartition("-")[0]
        if replica in self.replicas(unit):
            await self.take_down(unit, back=self.keeps)

    def close(self) -> None:
        pass


def hosted(app: App, folder: Path, text: str = SPLIT, options: Options | None = None) -> tuple[Host, Inline]:
    """Return a host whose units are stations on an inline wire."""
    made = split(app, text)
    wire = Inline(made, folder)
    options = options or Options(ticks=False)
    return Host(made, SqliteLog(folder), Apart(made, wire, LINKS, options), options), wire
