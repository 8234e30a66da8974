"""The fleet: keeps as many replicas of each unit as there should be, and says who holds which partition.

A replica whose pulse fails is out at once: its partitions go to others under a later epoch, so that it commits nothing
when it wakes. One that holds a view is ended first, since it could give old readings. Not here: what a replica does.
"""

import asyncio
import contextlib
import logging
import signal
from collections import deque
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any

import msgspec

from allotrope.engines.processes.launching import Crew, Launcher
from allotrope.engines.processes.leases import Lessor
from allotrope.engines.processes.lines import Directory, Lines
from allotrope.engines.processes.member import Member
from allotrope.kernel.errors import Lost, Refused
from allotrope.planning.plans import Plan
from allotrope.planning.topology import Unit

log = logging.getLogger("allotrope.fleet")
PULSE_S, HASTY_S = 0.25, 0.02  # between two pulses; while a replica is not ready yet
LEASE_S = 1.0  # without a pulse: then others take over
LINGER_S = 10.0  # how long one that is out may still be there, for who wants to look at it
GRACE_S = 10.0
GATEWAY = "gateway"  # a unit that no topology names: the host of the app, behind its doors
AGAIN_S, RARELY_S = 0.05, 1.0  # until partitions that nobody has taken are offered again; later and later
YOUNG_S, BACK_OFF_S, MOST_S = 5.0, 0.1, 10.0  # one that ends young is started again later and later
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
        self._unsettled: set[str] = set()  # units that are settled again soon
        self._views.add(GATEWAY)  # a second one would give origins as well: the first must have ended
        self._news = asyncio.Event()
        self._kept_places: set[tuple[str, int]] = set()
        self.rolling: set[str] = set()
        self._relief: dict[str, float] = {}  # unit -> when one of its replicas was last found too large
        self._lives: dict[tuple[str, int], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started: set[Member] = set()  # those of which there may still be a process
        self.launcher = Launcher(crew, self.images)
        self.stopping = False
        lines.expelling = self.expel

    def start(self) -> None:
        """Begin to start the processes; `lines` reach them as they come."""
        for unit, count in self.wanted.items():
            for number in range(1, count + 1):
                self._keep(unit, number)

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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a mistake in the fleet itself: %s", error, exc_info=error)

    # -- one place among the replicas of a unit

    def _keep(self, unit: str, number: int) -> None:
        if (unit, number) not in self._kept_places:  # else who keeps it finds it wanted again
            self._kept_places.add((unit, number))
            self._spawn(self._kept(unit, number))

    async def _kept(self, unit: str, number: int) -> None:
        try:
            await self._filled(unit, number)
        finally:
            self._kept_places.discard((unit, number))

    async def _filled(self, unit: str, number: int) -> None:
        """Keep a place filled, until it is not wanted any more."""
        failures = 0
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
                failures = 0
                continue
            if not self._needs(unit, number):
                return
            self.restarts[unit] += 1
            failures = failures + 1 if monotonic() - member.born < YOUNG_S else 0
            if failures:
                await asyncio.sleep(min(BACK_OFF_S * 2 ** (failures - 1), MOST_S))

    def _needs(self, unit: str, number: int) -> bool:
        return not self.stopping and number <= self.wanted[unit]

    def _new(self, unit: str, number: int) -> Member:
        life = self._lives[unit, number] = self._lives.get((unit, number), 0) + 1
        path = self.crew.run / f"{list(self.images).index(unit)}-{number}.{life}"
        member = Member(unit, number, life, f"unix:{path}")
        self.members[member.name] = member
        self._started.add(member)
        return member

    async def _lived(self, member: Member) -> None:
        """Start a replica and feel its pulse, until there is none; raise what was wrong."""
        await member.start(self.launcher.launch, self.crew.log(member.unit), self.crew.credentials)
        while not member.gone:
            known = member.vital
            directory = self.lines.directory
            await member.feel(directory if known.version < directory.version else None, LEASE_S)
            if known.version < 0:
                log.log(logging.INFO if member.life > 1 else logging.DEBUG, "%s is up", member.name)
                self._complaints[member.unit].clear()
                self.publish()
            if member.vital.ready != known.ready:
                await self._settle(member.unit)
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
        lately = monotonic() - self._relief.get(member.unit, -MOST_S) < MOST_S
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
            await member.leave(GRACE_S)
        member.gone = True
        if member.unit in self._views and not (member.leaving or self.stopping):
            await member.end()  # before anybody goes on: it must not answer any more
        self.members.pop(member.name, None)
        self.publish()
        await self._settle(member.unit)
        if self.stopping:
            await member.leave(GRACE_S)
        elif member.process is not None and member.process.returncode is None:
            self._spawn(self._outlived(member))
            return
        self._started.discard(member)
        self.launcher.clear(member)

    async def _outlived(self, member: Member) -> None:
        await member.end(0.0 if member.devices else LINGER_S)  # a GPU is too dear to wait
        self._started.discard(member)
        self.launcher.clear(member)

    async def expel(self, name: str) -> None:
        """End a replica that has missed something, and return once it is out of the directory."""
        member = self.members.get(name)
        if member is not None:
            await member.end()
            member.gone = True
            while name in self.members:
                await self.lines.changed()

    # -- who holds what

    def publish(self) -> None:
        """Send the directory as it is now to everybody."""
        for member in self.members.values():
            member.partitions = self._lessors[member.unit].leases.of(member.name)
        entries = tuple(member.entry for member in self.members.values() if member.up)
        self.lines.update(Directory(self.lines.directory.version + 1, entries))
        self._news.set()
        self._news = asyncio.Event()

    async def _settle(self, unit: str) -> None:
        """Share the partitions of a unit out among its replicas; later again, as long as some have no holder."""
        if self.stopping:
            self.publish()
        elif not await self._lessors[unit].settle(lambda: self._of(unit)) and unit not in self._unsettled:
            self._unsettled.add(unit)
            self._spawn(self._resettled(unit))

    async def _resettled(self, unit: str) -> None:
        pause, settled = AGAIN_S, False
        try:
            while not (settled or self.stopping):
                await asyncio.sleep(pause)
                log.warning("%s: partitions without a holder are offered again", unit)
                settled = await self._lessors[unit].settle(lambda: self._of(unit))
                pause = min(2 * pause, RARELY_S)
        finally:
            self._unsettled.discard(unit)

    def _of(self, unit: str) -> list[Member]:
        return [member for member in self.members.values() if member.unit == unit]

    # -- what an operator asks for

    def scale(self, unit: str, count: int) -> None:
        """Have `count` replicas of a unit from now on."""
        before, self.wanted[unit] = self.wanted[unit], count
        for number in range(before + 1, count + 1):
            self._keep(unit, number)
        for member in self.members.values():
            if member.unit == unit and member.number > count:
                self._dismiss(member)

    def _dismiss(self, member: Member) -> None:
        member.leaving, member.until = True, monotonic() + GRACE_S
        self._spawn(self._settle(member.unit))

    async def roll(self, unit: str, numbers: Sequence[int] = ()) -> None:
        """Replace replicas of a unit one by one, all without `numbers`: with one more than must be, if that can be."""
        if unit in self.rolling:
            raise Refused(f"unit `{unit}` is being rolled already", 1.0)
        self.rolling.add(unit)
        self._complaints[unit].clear()
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
        """Return how many replicas a unit has, whatever their state."""
        return sum(member.unit == unit for member in self.members.values())

    async def ready(self, unit: str, count: int) -> None:
        """Return once a unit has so many replicas that can be asked."""
        while self.wanted[unit] >= count and sum(r.ready for r in self.lines.directory.of(unit)) < count:
            self._give_up(unit)
            await self._changed()

    def strike(self, number: int) -> bool:
        """End one replica as kill -9 does, and return whether there was one; for a check."""
        there = [member for member in self.members.values() if member.up]
        if there:
            there[number % len(there)].signal(signal.SIGKILL)
        return bool(there)

    async def close(self, grace_s: float = GRACE_S) -> None:
        """End all processes: first they finish what they run, the gateway before those that it asks."""
        if self.wanted.get(GATEWAY):
            self.scale(GATEWAY, 0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * grace_s):
                    while self.count(GATEWAY):
                        await self._changed()
        self.stopping = True
        self._news.set()
        for member in self._started - set(
            self.members.values()
        ):  # out already: nobody wants to look any more
            member.signal(signal.SIGKILL)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(member.end() for member in self._started))
        await self.launcher.nursery.close()
        self.lines.close()
        for left in self.crew.run.iterdir():
            left.unlink(missing_ok=True)
