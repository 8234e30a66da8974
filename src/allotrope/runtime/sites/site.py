"""The port between a host, which orders the work, and a site, which does it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from allotrope.runtime.doors.dispatch import Services
from allotrope.runtime.effects.ended import Child
from allotrope.runtime.effects.holds import Hold
from allotrope.runtime.effects.letters import Found, Search
from allotrope.runtime.flows import Flights, Flow
from allotrope.runtime.keeping.checkpoints import Keeper
from allotrope.runtime.records import Record
from allotrope.runtime.routes import Delivery, Routes
from allotrope.runtime.telemetry.meters import Elsewhere
from allotrope.runtime.wiring import Wiring
from allotrope.storage.ports import Envelope, Log


class Joint(msgspec.Struct, frozen=True):
    """What a host gives to its site. `spawn` runs work beside everything else; its failure stops the host."""

    log: Log
    flights: Flights
    spawn: Callable[[Any], asyncio.Task[Any]]


class Begun(msgspec.Struct, frozen=True):
    """What a former life has left: the lowest origin that may be unfinished, and the effects above it."""

    floor: int
    done: frozenset[tuple[str, int, str]]  # (consumer, origin, path)
    position: int = 0  # of the log, from which on there is anything to take up
    newest: int = 0  # origin before that position
    since: dict[str, int] = {}  # view -> origin below which it has everything already


class Contents(msgspec.Struct, frozen=True):
    """All that is kept: tables as (key -> row as bytes), views as (key -> figures as bytes), decision records."""

    tables: dict[str, dict[str, bytes]]
    views: dict[str, dict[str, bytes]]
    records: tuple[Record, ...]


class Engine(Protocol):
    """What starts, watches and ends the processes of the units."""

    def start(self) -> None:
        """Begin to start them."""

    async def up(self) -> None:
        """Return once each unit can be asked. Refused when one cannot be started."""

    async def close(self) -> None:
        """End them: first they finish what they run."""

    def strike(self, number: int) -> bool:
        """End one of them as kill -9 does, and return whether there was one; for a check."""


class Site(Protocol):
    """Where deliveries are run. `take` runs one, commits its effect and returns the events that go somewhere."""

    services: Services
    wiring: Wiring
    routes: Routes

    @property
    def take(self) -> Callable[[Flow, Delivery], Awaitable[list[Child]]]:
        """Return what runs a delivery."""

    @property
    def show(self) -> Callable[[Envelope, Any], None] | None:
        """Return what shows an event to views that are elsewhere."""

    @property
    def covered(self) -> Callable[[Flow, Delivery], Awaitable[None]] | None:
        """Return what waits until the views that a delivery may read have seen all that they must have seen."""

    @property
    def keeper(self) -> Keeper | None:
        """Return what keeps the states of its views, if anything does."""

    @property
    def engine(self) -> Engine | None:
        """Return what keeps its processes, if it has any."""

    @property
    def away(self) -> Mapping[str, str]:
        """Return what is waited for since it cannot be asked, and why that is."""

    @property
    def parked(self) -> int:
        """Return how many events were parked since the start."""

    def join(self, joint: Joint) -> None:
        """Serve a host, from now on."""

    async def begin(self) -> Begun:
        """Get ready, bring to the log what was committed and not relayed, and return what was begun."""

    async def level(self, need: int, origin: int) -> None:
        """Return once the views among some components, given as bits, have every event of smaller origins."""

    def behind(self) -> Iterable[tuple[str, int, int]]:
        """Return of each view how many events it has yet to see, and when the oldest of their inputs was accepted."""

    async def outcome(self, envelope: Envelope) -> bytes | None:
        """Return how the command of an envelope ended, if that is kept."""

    async def letters(self, search: Search) -> Found:
        """Return the parked keys and dead letters that somebody looks for."""

    async def holds(self) -> tuple[Hold, ...]:
        """Return what keeps deliveries that are at work from their end."""

    def finish(self, floor: int) -> None:
        """Take the hint that everything below `floor` is finished."""

    async def flushed(self) -> None:
        """Return once every committed event is in the log."""

    async def contents(self) -> Contents:
        """Return all that is kept."""

    async def meters(self) -> Elsewhere:
        """Return the counters of what is not in this process."""

    async def close(self) -> None:
        """Stop, and release what is held."""
