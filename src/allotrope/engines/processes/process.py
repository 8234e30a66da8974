"""A process of a unit, from the inside: it listens, answers, and ends when it is told to or left alone."""

import asyncio
import signal
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from allotrope.engines.processes.lines import Lines, server
from allotrope.engines.processes.post import Charge, Post, beating
from allotrope.planning.documents import Document
from allotrope.runtime.doors.graces import WORK_S
from allotrope.runtime.sites.wire import Served
from allotrope.runtime.telemetry.sinks import Collector
from allotrope.transports.frames.security import Credentials


class Door(msgspec.Struct, frozen=True):
    """Where the gateway of a fleet serves."""

    web: int  # a socket that listens whoever is there to answer, so that nobody is turned away meanwhile
    rpc: tuple[str, int] | None = None
    closed: bool = False  # whether callers had to prove who they are when it was opened


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """All that the processes of a fleet have in common, in a file."""

    app: str  # module:variable
    paths: tuple[str, ...]  # where modules are looked for
    document: Document
    folder: str
    secret: str  # the file of the key that they share
    parent: int = 0  # the process that starts them
    door: Door | None = None
    seed: int = 0
    stirs: tuple[int, tuple[str, ...]] = (0, ())  # how a check disturbs them
    recalled: dict[str, bytes] | None = (
        None  # answers of unrepeatable queries in the run that it compares with
    )

    def unit(self, name: str) -> dict[str, Any]:
        """Return what the topology says of a unit by its own name, nothing where it is one of `each`."""
        found = self.document.values.get("unit", {}).get(name, {})
        return found if isinstance(found, dict) else {}


class Companion(Protocol):
    """A sidecar, as the replica that it belongs to knows it."""

    def tapped(self, served: Served) -> Served:
        """Return what the replica answers to, watched."""

    async def run(self) -> None:
        """Keep it there, until cancelled."""

    async def close(self) -> None:
        """End it, once it has what it needs."""


class Beside(msgspec.Struct, frozen=True):
    """What runs beside the work of a replica, and may fail without harm to it."""

    collector: Collector | None = None
    sidecars: tuple[Companion, ...] = ()

    def all(self) -> Iterator[Collector | Companion]:
        """Yield each of them."""
        yield from self.sidecars
        if self.collector is not None:
            yield self.collector


async def served(
    station: Charge, lines: Lines, address: str, credentials: Credentials, beside: Beside | None = None
) -> None:
    """Answer at `address` until told to leave, by the fleet or a signal, or until the fleet is gone."""
    beside = beside or Beside()
    post, answering = Post(lines, station), station.served()
    for sidecar in beside.sidecars:
        answering = sidecar.tapped(answering)
    listening = server((answering, post.served()), credentials)
    post.calls = lambda: listening.running
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, post.leaving.set)
    carrying = [loop.create_task(each.run()) for each in beside.all()]
    await listening.listen(address)
    over = beating(address.removeprefix("unix:"))
    waits = {loop.create_task(post.leaving.wait()), loop.create_task(post.forlorn())}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await listening.drain(WORK_S if post.leaving.is_set() else 0.0)
    finally:
        over.set()
        for task in (*waits, *carrying):
            task.cancel()
        closing = (each.close() for each in beside.all())
        await asyncio.gather(*closing, return_exceptions=True)  # they must not keep it from ending
        await station.close()
        lines.close()
