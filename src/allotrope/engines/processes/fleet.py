"""The fleet: keeps as many replicas of each unit as there should be, and says who holds which partition.

A replica whose pulse fails is out at once: its partitions go to others under a later epoch, so that it commits nothing
when it wakes. One that holds a view is ended first, since it could give old readings. Not here: what a replica does.
"""

import asyncio
import contextlib
import logging
import signal
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any

import msgspec

from allotrope.engines.processes.launching import Crew, Launcher, Releases
from allotrope.engines.processes.leases import Lessor
from allotrope.engines.processes.lines import Canary, Directory, Ending, Lines
from allotrope.engines.processes.member import BESIDE, Member
from allotrope.kernel.errors import Lost, Refused
from allotrope.planning.plans import Plan
from allotrope.planning.topology import Unit
from allotrope.runtime.doors.graces import FLEET_S, GATEWAY_S, REPLICA_S, WORK_S
from allotrope.runtime.sites.backoff import Backoff

log = logging.getLogger("allotrope.fleet")
PULSE_S, HASTY_S = 0.25, 0.02  # between two pulses; while a replica is not ready yet
LEASE_S = 1.0  # without a pulse: then others take over
LINGER_S = 10.0  # how long one that is out may still be there, for who wants to look at it
GATEWAY = "gateway"  # a unit that no topology names: the host of the app, behind its doors
_GRACES = {GATEWAY: GATEWAY_S}
AGAIN_S, RARELY_S = 0.05, 1.0  # until partitions that nobody has taken are offered again; later and later
RELIEF_S = 10.0  # at least, between two of a unit that are let go since they take too much memory
TRIES = 3  # starts without success, before the start of the whole is given up


class Fleet:
    """The replicas of all units of a plan."""

    def __init__(self, plan: Plan, crew: Crew, lines: Lines, least: int = 1) -> None:
        """Start nothing yet; `lines` are those of this process. Each unit has at least `least` replicas."""
        self.plan, self.crew, self.lines = plan, crew, lines
        self.members: dict[str, Member] = {}
        self.wanted = {unit: max(least, image.replicas[0]) for unit, image in plan.topology.unit.items()}
        self.images = dict(plan.topology.unit)
        if crew.files:  # the gateway: one process, since it alone gives origins
            self.wanted[GATEWAY], self.images[GATEWAY] = 1, Unit((), memory_mb=4096)
        self._endings: deque[Ending] = deque(maxlen=64)  # of the last to end
        self._lasts: dict[tuple[str, int], str] = {}  # how the process before ended, by place
        self.restarts: dict[str, int] = dict.fromkeys(self.images, 0)
        self._complaints: dict[str, deque[str]] = {unit: deque(maxlen=TRIES) for unit in self.images}
        components = plan.app.components
        self._views = {u for u, names in plan.units.items() if any(components[n].is_view for n in names)}
        leased = {
            unit
            for unit, names in plan.units.items()
            if any(operation.writes for name in names for operation in components[name].operations)
        }
        count = plan.topology.partitions
        self._lessors = {u: Lessor(count if u in leased else 0, self.publish) for u in self.images}
        for unit in self.images:
            self._lessors[unit].stalled = partial(self._free, unit)
        self._unsettled: set[str] = set()  # units that are settled again soon
        self._views.add(GATEWAY)  # a second one would give origins as well: the first must have ended
        self._news = asyncio.Event()
        self._kept_places: set[tuple[str, int]] = set()
        self.rolling: set[str] = set()
        self._relief: dict[str, float] = {}  # unit -> when one of its replicas was last found too large
        self.lives: dict[tuple[str, int], int] = {}
        self.waits: dict[tuple[str, int], float] = {}  # until when a place stays empty
        self._tasks: set[asyncio.Task[None]] = set()
        self._started: set[Member] = set()  # those of which there may still be a process
        self.launcher = Launcher(crew, self.images)
        self.releases = Releases(self.images, self.launcher.nursery.newest)
        self.stopping = False
        lines.expelling = self.expel

    def start(self) -> None:
        """Begin to start the processes; `lines` reach them as they come."""
        for unit, count in self.wanted.items():
            self.fill(unit, range(1, count + 1))

    async def up(self) -> None:
        """Return once each unit has a replica that answers. Refused, with its last words, when one cannot start."""
        while missing := self.images.keys() - {
            member.unit
            for member in self.members.values()
            if member.up and (member.vital.ready or member.unit != GATEWAY)
        }:
            for unit in sorted(missing):
                self._give_up(unit)
            await self.lines.changed()

    def _give_up(self, unit: str) -> None:
        """Raise what a unit has said that could not be started, time and again."""
        if len(said := self._complaints[unit]) >= TRIES:
            raise Refused(f"unit `{unit}` cannot be started, {TRIES} times: {said[-1]}")

    def complaint(self, unit: str) -> str:
        """Return what a unit has said last that could not be started, "" when all is well."""
        return self._complaints[unit][-1] if self._complaints[unit] else ""

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a mistake in the fleet itself: %s", error, exc_info=error)

    # -- one place among the replicas of a unit

    def fill(self, unit: str, numbers: Iterable[int]) -> None:
        """Keep places filled, as long as they are wanted; what was said before does not count for them."""
        self._complaints[unit].clear()
        for place in ((unit, number) for number in numbers):
            if place not in self._kept_places:  # else who keeps it finds it wanted again
                self._kept_places.add(place)
                self._spawn(self._kept(*place))

    async def _kept(self, unit: str, number: int) -> None:
        try:
            await self._filled(unit, number)
        finally:
            self._kept_places.discard((unit, number))

    async def _filled(self, unit: str, number: int) -> None:
        """Keep a place filled, until it is not wanted any more."""
        backoff = Backoff()
        while self._needs(unit, number):
            member = self._new(unit, number)
            try:
                await self._lived(member)
            except (Refused, Lost, OSError) as error:
                if not (self.stopping or member.leaving):
                    log.warning("%s is out: %s", member.name, error)
                    self._complaints[unit].append(str(error))
            finally:
                await self._bury(member)
            if member.leaving:
                backoff = Backoff()
                continue
            if not self._needs(unit, number):
                return
            self.restarts[unit] += 1
            if pause := backoff.pause(monotonic() - member.born):
                self.waits[unit, number] = monotonic() + pause
                try:
                    await asyncio.sleep(pause)
                finally:
                    del self.waits[unit, number]

    def _needs(self, unit: str, number: int) -> bool:
        wanted = self.releases.needs(unit, number) if number > BESIDE else number <= self.wanted[unit]
        return wanted and not self.stopping

    def _new(self, unit: str, number: int) -> Member:
        life = self.lives[unit, number] = self.lives.get((unit, number), 0) + 1
        path = self.crew.run / f"{list(self.images).index(unit)}-{number}.{life}"
        member = Member(unit, number, life, f"unix:{path}")
        member.release = self.releases.of(unit, number)
        member.before = self._lasts.get((unit, number), "")
        self.members[member.name] = member
        self._started.add(member)
        return member

    async def _lived(self, member: Member) -> None:
        """Start a replica and feel its pulse, until there is none; raise what was wrong."""
        await member.start(self.launcher.launch, self.crew.log(member.unit), self.crew.credentials)
        assert member.over is not None
        member.over.add_done_callback(lambda _: self._rouse())
        while not member.gone:
            known = member.vital
            directory = self.lines.directory
            await member.feel(directory if known.version < directory.version else None, LEASE_S)
            if known.version < 0:
                log.log(logging.INFO if member.life > 1 else logging.DEBUG, "%s is up", member.name)
                self._complaints[member.unit].clear()
                self.publish()
            if member.vital.ready != known.ready:
                await self.settle(member.unit)
            self._weigh(member)
            idle = member.vital.running == member.vital.calls == 0
            if self.stopping or (member.leaving and (idle or monotonic() > member.until)):
                return
            news = self._news
            if member.vital.version == self.lines.directory.version:
                pause = PULSE_S if member.vital.ready and not member.leaving else HASTY_S
                try:
                    async with asyncio.timeout(pause):
                        await news.wait()
                except TimeoutError:
                    pass

    def _weigh(self, member: Member) -> None:
        most = self.images[member.unit].memory_mb
        lately = monotonic() - self._relief.get(member.unit, -RELIEF_S) < RELIEF_S
        if member.vital.memory_mb > most and not (lately or member.leaving or member.unit in self.rolling):
            self._relief[member.unit] = monotonic()
            words = "%s has %.0f MiB, allowed are %d: it is replaced"
            log.warning(words, member.name, member.vital.memory_mb, most)
            self._spawn(self._relieved(member))

    async def _relieved(self, member: Member) -> None:
        try:
            await self.roll(member.unit, (member.number,))
        except Refused as error:
            log.warning("%s was not replaced: %s", member.name, error)

    async def _bury(self, member: Member) -> None:
        """Take a replica out of the directory, its partitions to others, and see to its end."""
        if member.leaving:  # what is still on its way to it is answered, or refused: nothing ran
            async with self._lessors[member.unit].lock:  # not in the middle of a change of holders
                member.vital = msgspec.structs.replace(member.vital, ready=False)
            await member.leave(_GRACES.get(member.unit, REPLICA_S))
        member.hang_up()
        if member.unit in self._views and not (member.leaving or self.stopping):
            await member.end()  # before anybody goes on: it must not answer any more
        self.members.pop(member.name, None)
        if (ending := member.ending) is not None:
            self._endings.append(ending)
            self._lasts[member.unit, member.number] = str(ending) * (not member.leaving)
        self.publish()
        await self.settle(member.unit)
        if self.stopping:
            await member.leave(_GRACES.get(member.unit, REPLICA_S))
        if member.process is None or member.ending is not None:
            await self._outlived(member)
        else:
            self._spawn(self._outlived(member))

    async def _outlived(self, member: Member) -> None:
        await member.end(0.0 if member.devices else LINGER_S)  # a GPU is too dear to wait
        self._started.discard(member)
        self.launcher.clear(member)

    def _free(self, unit: str = "") -> None:
        """End who is out: one that was stopped in the middle of a write has the lock of its unit's file."""
        for member in self._started - set(self.members.values()):
            if unit in ("", member.unit):
                member.strike(signal.SIGKILL)

    async def expel(self, name: str) -> None:
        """End a replica that has missed something, and return once it is out of the directory."""
        member = self.members.get(name)
        if member is not None:
            await member.end()
            while name in self.members:
                await self.lines.changed()

    # -- who holds what

    def publish(self) -> None:
        """Send the directory as it is now to everybody."""
        for member in self.members.values():
            member.partitions = self._lessors[member.unit].leases.of(member.name)
        entries = tuple(member.entry for member in self.members.values() if member.up)
        version, canaries = self.lines.directory.version + 1, tuple(self.releases.canaries.values())
        self.lines.update(Directory(version, entries, tuple(self._endings), canaries))
        self._rouse()

    def _rouse(self) -> None:
        """Have every pulse felt now."""
        self._news.set()
        self._news = asyncio.Event()

    async def settle(self, unit: str) -> None:
        """Share the partitions of a unit out among its replicas; later again, as long as some have no holder."""
        if self.stopping:
            self.publish()
        elif not await self._lessors[unit].settle(lambda: self.of(unit)) and unit not in self._unsettled:
            self._unsettled.add(unit)
            self._spawn(self._resettled(unit))

    async def _resettled(self, unit: str) -> None:
        pause, settled = AGAIN_S, False
        try:
            while not (settled or self.stopping):
                await asyncio.sleep(pause)
                log.warning("%s: partitions without a holder are offered again", unit)
                settled = await self._lessors[unit].settle(lambda: self.of(unit))
                pause = min(2 * pause, RARELY_S)
        finally:
            self._unsettled.discard(unit)

    def split(self, unit: str, canary: Canary | None) -> None:
        """Give the release of a canary its share of a unit from now on; None ends that."""
        self._lessors[unit].canary = canary
        self._spawn(self.settle(unit))

    def leased(self, unit: str) -> int:
        """Return how many partitions a unit has, 0 when nothing of it writes."""
        return self._lessors[unit].leases.partitions

    def of(self, unit: str) -> list[Member]:
        """Return the replicas of a unit, whatever their state."""
        return [member for member in self.members.values() if member.unit == unit]

    # -- what an operator asks for

    def scale(self, unit: str, count: int) -> None:
        """Have `count` replicas of a unit from now on."""
        before, self.wanted[unit] = self.wanted[unit], count
        self.fill(unit, range(before + 1, count + 1))
        self.trim(unit, range(count + 1, BESIDE + 1))

    def trim(self, unit: str, numbers: range) -> None:
        """Have the replicas at some places leave."""
        for member in self.of(unit):
            if member.number in numbers:
                self._dismiss(member)

    def _dismiss(self, member: Member) -> None:
        member.leaving, member.until = True, monotonic() + WORK_S
        self._spawn(self.settle(member.unit))

    async def roll(self, unit: str, numbers: Sequence[int] = ()) -> None:
        """Replace replicas of a unit one by one, all without `numbers`: with one more than must be, if that can be."""
        if unit in self.rolling:
            raise Refused(f"unit `{unit}` is being rolled already", 1.0)
        self.rolling.add(unit)
        count = self.wanted[unit]
        # There is never a second gateway, and not always a second GPU: then what comes meanwhile has to wait.
        most = count + int(unit != GATEWAY and self.launcher.devices.fits(self.images[unit].gpu))
        try:
            self.scale(unit, most)
            await self.ready(unit, most)
            for number in numbers or range(1, count + 1):
                old = [m for m in self.members.values() if (m.unit, m.number) == (unit, number)]
                for member in old:
                    self._dismiss(member)
                while any(member.name in self.members for member in old):
                    await self._changed()
                await self.ready(unit, most)
        finally:
            self.scale(unit, count)
            self.rolling.discard(unit)
        while self.count(unit) > count:
            await self._changed()

    async def _changed(self) -> None:
        """Wait for news. Refused when all processes are to end: what is waited for will not come."""
        if self.stopping:
            raise Refused(f"{self.plan.app.name} is shutting down")
        await self.lines.changed(1.0)

    def count(self, unit: str) -> int:
        """Return how many replicas a unit has, whatever their state; those of a canary are not counted."""
        return sum(not member.beside for member in self.of(unit))

    async def ready(self, unit: str, count: int, *, beside: bool = False) -> None:
        """Return once a unit has so many replicas that can be asked; of its canary, those that are `beside`."""
        while (beside or self.wanted[unit] >= count) and self._ready(unit, beside=beside) < count:
            self._give_up(unit)
            await self._changed()

    def _ready(self, unit: str, *, beside: bool) -> int:
        side = {member.name for member in self.of(unit) if member.beside == beside}
        return sum(replica.ready and replica.name in side for replica in self.lines.directory.of(unit))

    async def left(self, unit: str) -> None:
        """Return once no replica of a canary is there any more."""
        while any(member.beside for member in self.of(unit)):
            await self._changed()

    def strike(self, number: int) -> bool:
        """End one replica as kill -9 does, and return whether there was one; for a check."""
        there = [member for member in self.members.values() if member.up]
        if there:
            there[number % len(there)].strike(signal.SIGKILL)
        return bool(there)

    async def close(self) -> None:
        """End all processes: first they finish what they run, the gateway before those that it asks."""
        if self.wanted.get(GATEWAY):
            self.scale(GATEWAY, 0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WORK_S + GATEWAY_S):
                    while self.count(GATEWAY):
                        await self._changed()
        self.stopping = True
        self._news.set()
        self._free()  # nobody wants to look any more
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=FLEET_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(member.end() for member in self._started))
        await self.launcher.nursery.close()
        self.lines.close()
        for left in self.crew.run.iterdir():
            left.unlink(missing_ok=True)
