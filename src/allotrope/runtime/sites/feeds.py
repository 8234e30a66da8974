"""Feeds: what keeps the views of a unit level with the log. Each replica gets every event, first the old, then the new.

A delivery that reads a view waits until each replica has what came before; so it does not matter which one it asks.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Container
from itertools import islice
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Failed, Lost, Refused
from allotrope.runtime.flows import woken
from allotrope.runtime.keeping.checkpoints import Keeper
from allotrope.runtime.sites.site import Joint
from allotrope.runtime.sites.wire import Address, Fed, Letter, States, Wanted, Wire, opened, portion
from allotrope.storage.checkpoints import Kept, Row
from allotrope.storage.ports import Envelope

log = logging.getLogger("allotrope")
BATCH = 1000  # events in one letter
BEHIND = 10_000  # events that a replica may be behind before everybody waits for it


class Line:
    """One replica, and the events that it has yet to confirm."""

    def __init__(self, replica: str, floor: int) -> None:
        """Start with none: all that comes from now on is of origins from `floor` on."""
        self.replica, self.floor = replica, floor
        self.loaded = False
        self.unconfirmed: deque[Envelope] = deque()
        self.fresh = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def holds_up(self, origin: int) -> bool:
        """Return whether an event of a smaller origin is not confirmed yet."""
        behind = self.unconfirmed
        return len(behind) > BEHIND or any(envelope.origin < origin for envelope in behind)


class Feed:
    """The replicas of one unit with views."""

    def __init__(self, unit: str, kinds: frozenset[str], wire: Wire) -> None:
        """Feed events of some types."""
        self.unit, self.kinds, self.wire = unit, kinds, wire
        self.lines: dict[str, Line] = {}
        self.keeper: Keeper | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, envelope: Envelope) -> None:
        """Send an event to every replica. A replica that comes later reads it from the log."""
        for line in self.lines.values():
            line.unconfirmed.append(envelope)
            line.fresh.set()

    async def covered(self, origin: int) -> None:
        """Return once a replica can be asked, and all that can have every event of smaller origins."""
        while not self.level(origin):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    @property
    def behind(self) -> bool:
        """Return whether a replica is so far behind that everybody has to wait, whether they read it or not."""
        return any(line.loaded and len(line.unconfirmed) > BEHIND for line in self.lines.values())

    def lag(self, kinds: Container[str]) -> tuple[int, int]:
        """Return how many events of some types the replica furthest behind lacks, and when its oldest was accepted."""
        found = (0, 0)
        for line in self.lines.values():
            lacks = [envelope.at for envelope in line.unconfirmed if envelope.kind in kinds]
            if len(lacks) > found[0]:
                found = len(lacks), lacks[0]
        return found

    async def caught_up(self) -> None:
        """Return once no replica is too far behind."""
        while self.behind:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    def level(self, origin: int) -> bool:
        """Return whether a replica can be asked, and all that can have every event of smaller origins."""
        loaded = [line for line in self.lines.values() if line.loaded]
        return bool(loaded) and not any(line.holds_up(origin) for line in loaded)

    def _tell(self) -> None:
        if self._waiting:
            self._waiting = woken(self._waiting)

    def rows(self, known: Kept | None, origin: int) -> AsyncIterator[list[Row]]:
        """Yield the states of the unit's views as of an origin, where they differ from a checkpoint's."""
        return self._rows(Wanted(origin, known.since if known else 0, known.views if known else {}, True))

    async def _rows(self, wanted: Wanted) -> AsyncIterator[list[Row]]:
        await self.covered(wanted.origin)
        replica, more = self._asked(), True
        while more:
            states: States = await self._call(replica, "states", wanted, States)
            wanted, more = msgspec.structs.replace(wanted, first=False), states.more
            yield list(states.rows)

    async def defined(self) -> dict[str, str]:
        """Return the unit's views and their definitions, as hashes."""
        await self.covered(0)
        found: dict[str, str] = await self._call(self._asked(), "defined", None, dict[str, str])
        return found

    def _asked(self) -> str:
        """Return the first replica that can be asked."""
        name = next((name for name, line in self.lines.items() if line.loaded), None)
        if name is None:
            raise Lost(f"unit {self.unit} has no replica with all events")
        return name

    async def follow(self, joint: Joint, flushed: Callable[[], Awaitable[None]]) -> None:
        """Feed the replicas that come, and forget those that go. `flushed` brings all that is committed to the log."""
        while True:
            there = self.wire.replicas(self.unit)
            for gone in self.lines.keys() - set(there):
                line = self.lines.pop(gone)
                if line.task is not None:
                    line.task.cancel()
                self._tell()
            for replica in there:
                if replica not in self.lines:
                    line = self.lines[replica] = Line(replica, joint.flights.floor())
                    line.task = joint.spawn(self._serve(line, joint, flushed))
            await self.wire.changed(1.0)

    async def _serve(self, line: Line, joint: Joint, flushed: Callable[[], Awaitable[None]]) -> None:
        try:
            known = await self._load(line, joint, flushed)
            line.loaded = True  # what is newer waits in the line, so nobody reads too early
            self._tell()
            while True:
                batch = portion(tuple(islice(line.unconfirmed, BATCH)), lambda envelope: envelope)
                new = tuple(envelope for envelope in batch if envelope.name not in known)
                if new:
                    await self._send(line, Fed(new, self._floor(joint)))
                for _ in batch:
                    line.unconfirmed.popleft()
                self._tell()
                if not line.unconfirmed:
                    known = known if known and joint.flights.floor() <= max(known.values()) else {}
                    line.fresh.clear()
                    await line.fresh.wait()
        except (Refused, Lost, Failed) as error:  # it has missed something: it must not answer any more
            log.warning("%s is ended, since it has missed events: %s", line.replica, error)
            await self.wire.expel(line.replica)
            self.lines.pop(line.replica, None)
            self._tell()

    async def _load(self, line: Line, joint: Joint, flushed: Callable[[], Awaitable[None]]) -> dict[str, int]:
        """Send the log, and return those of its events that may be in the line as well, with their origins."""
        await flushed()
        known: dict[str, int] = {}
        position = await self._begin(line, joint)
        more = True
        while more and (entries := await joint.log.read(position, BATCH)):
            # What comes to the log from now on is in the line too: to run after it, this would never end.
            more, position = len(entries) == BATCH, entries[-1].position + 1
            old = tuple(entry.envelope for entry in entries if entry.envelope.kind in self.kinds)
            floor = self._floor(joint)
            known |= {envelope.name: envelope.origin for envelope in old if envelope.origin >= line.floor}
            while old:
                part = portion(old, lambda envelope: envelope)
                await self._send(line, Fed(part, floor, last=False))
                old = old[len(part) :]
        await self._send(line, Fed((), self._floor(joint)))
        return known

    async def _begin(self, line: Line, joint: Joint) -> int:
        """Send what the newest checkpoint has of the unit's views; return from where on the log is to follow."""
        keeper, floor = self.keeper, self._floor(joint)
        if keeper is None or keeper.kept is None:
            await self._send(line, Fed((), floor, first=True, last=False))
            return 0
        defined = await self._call(line.replica, "defined", None, dict[str, str])
        async with keeper.lock:  # nobody writes over what is being read
            kept, since = keeper.kept, keeper.known(defined)
            await self._send(line, Fed((), floor, first=True, last=False, since=since))
            for rows in keeper.files.pages(kept, since):
                await self._send(line, Fed((), floor, last=False, states=tuple(rows)))
            return keeper.start(since, defined)[0]

    def _floor(self, joint: Joint) -> int:
        return joint.flights.floor() if self.keeper is None else self.keeper.floor()

    async def _send(self, line: Line, fed: Fed) -> None:
        await self._call(line.replica, "feed", fed, None)

    async def _call(self, replica: str, method: str, letter: Any, kind: Any) -> Any:
        to = Address(self.unit, replica=replica)
        return opened(await self.wire.call(to, method, Letter(codec.encode(letter))), kind)
