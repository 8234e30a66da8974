"""Checkpoints: when the state of the views is kept, as of which origin, and what a start takes up of it.

While one is being written the floor is held where it began, so that every view can still be read as of it. Not here:
the bytes of a state (`states`), the files (`storage.checkpoints`).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Set
from typing import Any, Protocol
from zlib import crc32

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Corrupted, Failed, Lost, Refused
from allotrope.planning.doors.retention import spans
from allotrope.planning.plans import Plan
from allotrope.runtime.flows import Flights
from allotrope.runtime.keeping.retention import Retention, loss
from allotrope.runtime.keeping.states import Watch, owed, page
from allotrope.runtime.options import Options
from allotrope.storage.checkpoints import NAMES, Kept, Row
from allotrope.storage.ports import Entry, Log

logger = logging.getLogger("allotrope")
EVERY = 10_000  # finished origins after which a checkpoint is written
LEAST = 1_000  # and at a clean stop: what is less is read again as quickly
_STEP = 200  # entries read at once beside the work
Notes = tuple[
    dict[str, tuple[str, ...]] | None, int
]  # who takes what at a place of the log; how many such marks


class Holder(Protocol):
    """Where the views of a site are."""

    async def defined(self) -> Mapping[str, str]:
        """Return the views and their definitions, as hashes."""

    def rows(self, known: Kept | None, origin: int) -> AsyncIterator[list[Row]]:
        """Yield the states, as of `origin`, of all keys that have changed since a checkpoint."""

    async def persist(self, floor: int) -> None:
        """Return once it is on disk that everything below `floor` is finished."""


class Local:
    """Views in this process."""

    def __init__(self, views: Mapping[str, Any], persist: Callable[[int], Any]) -> None:
        """Watch them from now on."""
        self.watches = {name: Watch(view) for name, view in views.items()}
        self.persist = persist

    async def defined(self) -> Mapping[str, str]:
        """Return the views and their definitions, as hashes."""
        return {name: watch.print for name, watch in self.watches.items()}

    async def rows(self, known: Kept | None, origin: int) -> AsyncIterator[list[Row]]:
        """Yield the states, as of `origin`, of all keys that have changed since a checkpoint."""
        left = owed(self.watches, known.since, known.views) if known else owed(self.watches, 0, {})
        while left:
            yield page(self.watches, left, origin)
            await asyncio.sleep(0)

    def restore(self, rows: list[Row]) -> None:
        """Put states in their places."""
        for name in {row[0] for row in rows}:
            self.watches[name].restore([row for row in rows if row[0] == name])


class Keeper:
    """Keeps the views of one host."""

    def __init__(self, plan: Plan, options: Options, log: Log, flights: Flights, holder: Holder) -> None:
        """Write nothing before the first checkpoint is due."""
        assert options.kept is not None  # else nobody makes one
        self.app, self.files, self.log, self.flights, self.holder = (
            plan.app.name,
            options.kept,
            log,
            flights,
            holder,
        )
        self.sources = {
            name: tuple(source.__name__ for source in component.sources())
            for name, component in plan.app.components.items()
            if component.is_view
        }
        commands = [
            o.title for c in plan.app.components.values() for o in c.operations if o.kind == "command"
        ]
        kinds = (*plan.app.events(), *commands, "Tick")
        self.retention = Retention(log, self.files, spans(plan.topology, kinds), options.now)
        self.accepted, self.anew = options.accepted, options.rebuilt
        self.lock = asyncio.Lock()  # held while the files are read or written
        self.marks: list[tuple[int, Notes]] = [(0, (None, 0))]  # (position, what holds behind it)
        self._pin: int | None = None
        self._turn = asyncio.Lock()  # of whoever holds the floor
        self._task: asyncio.Task[Any] | None = None
        self._next = EVERY
        self._begun = self._rebuilt = False

    def floor(self) -> int:
        """Return the lowest origin as of which a view may be asked."""
        floor = self.flights.floor()
        return floor if self._pin is None or floor < self._pin else self._pin

    @property
    def kept(self) -> Kept | None:
        """Return the newest checkpoint."""
        return self.files.newest

    # -- a start

    async def open(self, floor: int) -> Kept | None:
        """Return the newest checkpoint that is of this app and log, of origins below `floor` only; None without one."""
        found = self.files.found()
        for kept in found:
            if (why := await self._unfit(kept, floor)) is None:
                self.files.newest = kept
                self.marks = [(0, codec.decode(kept.notes, Notes))]
                break
            logger.warning("checkpoint %d of the views is passed over: %s", kept.number, why)
        self._next = EVERY + (0 if self.kept is None else self.kept.since)
        self._begun = True
        if self.kept is None:
            self.check(set(self.sources))
            self._rebuilt = bool(self.accepted)
        return self.kept

    async def _unfit(self, kept: Kept, floor: int) -> str | None:
        if kept.app != self.app:
            return f"it is of the app {kept.app}"
        if kept.since > floor:
            return f"it holds origins up to {kept.since - 1}, of which those from {floor} on may run again"
        if kept.position > 1 and kept.seal:
            found = await self.log.read(kept.position - 1, 1)
            if not found or entry_seal(found[0]) != kept.seal:
                return f"the log does not have the entry {kept.position - 1} that it was drawn from"
        if not await asyncio.to_thread(self.files.whole, kept):
            return "it is damaged"
        return None

    def known(self, defined: Mapping[str, str]) -> dict[str, int]:
        """Return the views, of those that are defined so, whose state is kept, and below which origin."""
        kept = self.kept
        if kept is None:
            return {}
        same = [name for name, hashed in kept.views.items() if defined.get(name) == hashed]
        return {name: kept.since for name in same if name not in self.anew}

    def forget(self, why: str) -> None:
        """Let the checkpoints be: everything comes from the log. Refused when it does not have everything any more."""
        logger.warning("checkpoints of the views are passed over: %s", why)
        self.files.newest, self.marks, self._next = None, [(0, (None, 0))], EVERY
        self.check(set(self.sources))

    def check(self, rebuilt: Set[str]) -> None:
        """Refuse to rebuild views from a log that lacks some of their events, unless that was accepted."""
        views = {name: self.sources[name] for name in sorted(rebuilt - self.accepted) if name in self.sources}
        if lost := loss(self.log, views):
            names = " ".join(views)
            raise Refused(
                f"the log has no longer all that these views were made of, and no checkpoint holds them as they are "
                f"defined now: {lost}. Start the version of the app that wrote them, or put the files "
                f"{' and '.join(NAMES)} back from a backup; or go on without: "
                f"`allotrope events rebuild APP {names} --accept-loss`"
            )

    def start(self, since: Mapping[str, int], views: Mapping[str, str]) -> tuple[int, int, dict[str, int]]:
        """Return from where on to read the log, the newest origin before, and from which one on each view lacks it."""
        kept = self.kept
        if kept is None:
            return 0, 0, {}
        self.check(set(views.keys() - since.keys()))
        if views.keys() != since.keys():  # what was rebuilt is worth keeping at once
            self._next, self._rebuilt = 0, True
        for name in views.keys() - since.keys():
            logger.warning(
                "view %s is not what it was when its state was kept: it is rebuilt from the log", name
            )
        whole = views.keys() == since.keys()
        return *((kept.position, kept.since - 1) if whole else (0, 0)), dict(since)

    # -- while serving

    def look(self, spawn: Callable[[Any], asyncio.Task[Any]]) -> None:
        """Begin a checkpoint when it is time; called when the floor has moved."""
        if (
            self._begun
            and self._pin is None
            and self.flights.floor() > self._next
            and (self._task is None or self._task.done())
        ):
            self._next = self.flights.floor() + EVERY
            self._task = spawn(self._patiently())

    async def _patiently(self) -> None:
        try:
            async with self._turn:
                await self.write()
            await self.retention.round()
        except (Refused, Lost, Failed, Corrupted) as error:  # a start takes longer; nothing else is lost
            logger.warning("the views were not kept, the next try is %d inputs from now: %s", EVERY, error)

    async def write(self) -> Kept:
        """Write a checkpoint as of now and return it."""
        known, origin, anew = self.kept, self.flights.floor(), self.anew
        if known is not None and anew:  # of these all keys are wanted
            views = {name: defined for name, defined in known.views.items() if name not in anew}
            known = msgspec.structs.replace(known, views=views)
        self._pin = origin
        try:
            position, seal = await self._position(origin)
            views = dict(await self.holder.defined())
            await self._filed(self.files.begin, views, anew)
            async for rows in self.holder.rows(known, origin):
                await self._filed(self.files.add, rows)
        finally:
            self._pin = None
        # Else the next start might run an origin again that is in the checkpoint already.
        await self.holder.persist(origin)
        notes = next(notes for place, notes in reversed(self.marks) if place < position)
        kept = Kept(0, self.app, origin, position, seal, views, codec.encode(notes))
        written: Kept = await self._filed(self.files.finish, kept)
        self._rebuilt, self.anew = False, self.anew - anew
        return written

    @contextlib.asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[int]:
        """Hold the floor while a view is rebuilt; yield the origin at which it is held. The view is kept anew then."""
        self.check({name})
        async with self._turn:
            self._pin = origin = self.flights.floor()
            try:
                yield origin
                self.anew, self._rebuilt, self._next = self.anew | {name}, True, 0
            finally:
                self._pin = None

    async def _filed(self, work: Callable[..., Any], *given: Any) -> Any:
        async with self.lock:
            return await asyncio.to_thread(work, *given)

    async def _position(self, origin: int) -> tuple[int, int]:
        """Return from where on the log has every input from `origin` on, and the seal of the entry before."""
        known = self.kept
        position, seal = (known.position, known.seal) if known else (1, 0)
        last: Entry | None = None
        found = False
        while not found and (entries := await self.log.read(position, _STEP)):
            for entry in entries:
                found = not entry.envelope.path and entry.envelope.origin >= origin
                if found:
                    break
                position, last = entry.position + 1, entry
            await asyncio.sleep(0)
        return position, seal if last is None else entry_seal(last)

    async def close(self, *, able: bool = True) -> None:
        """Write what is worth it, when all is finished and the views are `able` to tell, and release the files."""
        try:
            since = 0 if self.kept is None else self.kept.since
            worth = self._rebuilt or self.flights.floor() - since > LEAST
            if able and self._begun and worth and not self.flights.flows:
                await self._patiently()
        finally:
            self.files.close()


def entry_seal(entry: Entry) -> int:
    """Return what tells one log's entry from another's; never 0, which stands for no entry."""
    return crc32(codec.encode((entry.position, entry.envelope))) or 1
