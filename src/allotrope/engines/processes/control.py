"""The control door of a fleet: what an operator sees of it and asks of it, at a socket in the folder of the app.

It is the engine that a host holds. Not here: how replicas are kept (`fleet`), and what a command line makes of this.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import msgspec

from allotrope.engines.desk import HOST, KEY
from allotrope.engines.processes.fleet import GATEWAY, Fleet
from allotrope.engines.processes.lines import Canary
from allotrope.engines.processes.member import Member, Usage
from allotrope.engines.processes.post import memory_mb
from allotrope.engines.processes.rollouts import Rollout
from allotrope.engines.processes.scaling import Scaler
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused, nearest
from allotrope.storage.locks import Lock
from allotrope.transports.frames.client import connect
from allotrope.transports.frames.errors import Unreachable
from allotrope.transports.frames.security import Key
from allotrope.transports.frames.server import Call, Server

DOOR = "fleet"  # in the folder of sockets
MOST = 64  # replicas of one unit that an operator may ask for


class Seen(msgspec.Struct, frozen=True):
    """One process, as an operator sees it. `cpu` is its share of a core; its place was filled `starts` times."""

    unit: str
    name: str
    state: str  # starting, loading, ready, leaving; waits, where there is none for a while
    pid: int
    partitions: tuple[int, ...] = ()
    cpu: float = 0.0
    memory_mb: float = 0.0
    calls: int = 0
    starts: int = 1
    age_s: float = 0.0
    tasks: int = 0  # of its event loop
    wait_s: float = 0.0  # until its place is filled again
    said: str = ""  # of the one before it: how it ended, and what it said when that was young
    release: int = 1


class Sight(msgspec.Struct, frozen=True):
    """A fleet, as an operator sees it; the host is the first of its processes."""

    app: str
    topology: str
    wanted: dict[str, int]  # replicas by unit
    processes: tuple[Seen, ...]
    canaries: tuple[Canary, ...] = ()


class Begun(msgspec.Struct, frozen=True):
    """What came of a roll: the canary that it has begun, if any, and what there is to know about it."""

    told: str = ""
    canary: Canary | None = None


class Control:
    """A fleet with its door."""

    def __init__(self, fleet: Fleet, lock: Lock) -> None:
        """Open the door with the fleet; `lock` is that of its folder, held until it closes."""
        self.fleet, self.scaler, self.lock = fleet, Scaler(fleet), lock
        self.rollout = Rollout(fleet)
        self._born, self._usage = monotonic(), Usage()
        methods = {
            "list": self._list,
            "scale": self._scale,
            "roll": self._roll,
            "renew": self._renew,
            "canary": self._canary,
            "promote": self._promote,
            "undo": self._undo,
            "expel": self._expel,
        }
        self._server = Server(methods, {}, fleet.crew.credentials)
        self._scaling: asyncio.Task[None] | None = None

    # -- as an engine

    def start(self) -> None:
        """Begin to start the processes."""
        self.fleet.start()

    async def up(self) -> None:
        """Return once each unit has a replica that answers. Refused, with its last words, when one cannot start."""
        await self._server.listen(f"unix:{self.fleet.crew.run / DOOR}")
        await self.fleet.up()
        self._scaling = asyncio.get_running_loop().create_task(self.scaler.run())

    def strike(self, number: int) -> bool:
        """End one replica as kill -9 does, and return whether there was one; for a check."""
        return self.fleet.strike(number)

    async def close(self) -> None:
        """End all processes, then the door: until then it shows how they end."""
        if self._scaling is not None:
            self._scaling.cancel()
        try:
            await self.fleet.close()
            await self._server.close()
        finally:
            self.lock.release()

    # -- as a door

    async def _list(self, call: Call) -> bytes:
        members = sorted(self.fleet.members.values(), key=lambda m: (self._place(m.unit), m.number, m.life))
        found = [*map(seen, members), *self._waiting()]
        return codec.encode(
            Sight(
                self.fleet.plan.app.name, self.fleet.plan.name.removesuffix(".toml"), self._wanted(),
                (self._host(), *sorted(found, key=lambda process: self._place(process.unit))),
                tuple(self.fleet.releases.canaries.values()),
            )
        )  # fmt: skip

    def _wanted(self) -> dict[str, int]:
        beside = self.fleet.releases.beside
        return {unit: count + beside.get(unit, 0) for unit, count in self.fleet.wanted.items()}

    def _waiting(self) -> Iterator[Seen]:
        """Yield the places that are empty for a while, since who was there ended young."""
        for (unit, number), until in self.fleet.waits.items():
            starts, wait_s = self.fleet.lives[unit, number], max(until - monotonic(), 0.0)
            said = self.fleet.complaint(unit)
            yield Seen(unit, f"{unit}-{number}", "waits", 0, starts=starts, wait_s=wait_s, said=said)

    def _place(self, unit: str) -> int:
        return list(self.fleet.images).index(unit)

    def _host(self) -> Seen:
        self._usage.see(process_time())
        state = "leaving" if self.fleet.stopping else "ready"
        return Seen(
            "",
            "supervisor" if GATEWAY in self.fleet.images else "host",
            state,
            os.getpid(),
            (),
            self._usage.share,
            memory_mb(),
            age_s=monotonic() - self._born,
            tasks=len(asyncio.all_tasks()),
        )

    def _known(self, unit: str) -> None:
        if unit not in self.fleet.images:
            raise Refused(
                f"app {self.fleet.plan.app.name} has no unit `{unit}`. {nearest(unit, self.fleet.images)}"
            )

    async def _scale(self, call: Call) -> bytes:
        unit, count = codec.decode(call.payload, tuple[str, int])
        self._known(unit)
        if unit == GATEWAY:
            raise Refused("the gateway is one process, since it alone gives the order; scale units, not it")
        if not 1 <= count <= MOST:
            raise Refused(f"unit `{unit}` cannot have {count} replicas; 1 to {MOST} can be asked for")
        least, most = self.scaler.bounds.get(unit, (1, MOST))
        if not least <= count <= most:
            raise Refused(
                f"unit `{unit}` cannot have {count} replicas: by `replicas` in {self.fleet.plan.name} load "
                f"scales it between {least} and {most}; ask for one of these, or change it there"
            )
        if unit in self.fleet.rolling:
            raise Refused(f"unit `{unit}` is being rolled; scale it when that is over", 1.0)
        self.fleet.scale(unit, count)
        await self.fleet.ready(unit, count)
        return b""

    async def _expel(self, call: Call) -> bytes:
        await self.fleet.expel(codec.decode(call.payload, str))
        return b""

    async def _roll(self, call: Call) -> bytes:
        unit = codec.decode(call.payload, str)
        self._known(unit)
        told = await self.rollout.roll(unit)
        return codec.encode(Begun(told, self.fleet.releases.canaries.get(unit)))

    async def _canary(self, call: Call) -> bytes:
        unit, share = codec.decode(call.payload, tuple[str, float])
        self._known(unit)
        if unit == GATEWAY:
            raise Refused("the gateway is one process, since it alone gives the order; roll it, or a unit")
        told = await self.rollout.begin(unit, share)
        return codec.encode(Begun(told, self.fleet.releases.canaries[unit]))

    async def _promote(self, call: Call) -> bytes:
        unit = codec.decode(call.payload, str)
        self._known(unit)
        await self.rollout.promote(unit)
        return b""

    async def _undo(self, call: Call) -> bytes:
        unit = codec.decode(call.payload, str)
        self._known(unit)
        return codec.encode(await self.rollout.undo(unit))

    async def _renew(self, call: Call) -> bytes:
        """Start what comes from now on from the code as it is now."""
        self.fleet.launcher.renew()
        return b""


def seen(member: Member) -> Seen:
    """Return a replica as an operator sees it."""
    vital, pid = member.vital, 0 if member.process is None else member.process.pid
    state = "ready" if vital.ready else "loading"
    state = "leaving" if member.leaving else state if member.up else "starting"
    return Seen(
        member.unit, member.name, state, pid, tuple(sorted(member.partitions)), member.usage.share, vital.memory_mb,
        vital.calls, member.life, monotonic() - member.born, vital.tasks, said=member.before,
        release=member.release,
    )  # fmt: skip


class Nobody(Refused):
    """Nothing runs there that could answer."""


class Way(msgspec.Struct, frozen=True):
    """The way to the fleet of a folder, or to its host."""

    folder: Path
    door: str = DOOR

    @property
    def nothing(self) -> str:
        """Return what to say when there is nobody."""
        if self.door == HOST:
            return f"no app runs in {self.folder}; start it with `allotrope serve APP --folder {self.folder}`"
        start = f"`allotrope run APP --topology microservices --folder {self.folder}`"
        return f"no units run in {self.folder}; start them with {start}"

    def ask(self, method: str, letter: bytes = b"", timeout_s: float | None = None) -> bytes:
        """Return the answer. Raises Nobody when nobody is there."""
        run = self.folder.absolute() / "run"
        if not (run / self.door).exists():
            raise Nobody(self.nothing)
        return asyncio.run(self._asked(f"unix:{run / self.door}", Key(run / KEY), method, letter, timeout_s))

    async def _asked(self, address: str, key: Key, *request: Any) -> bytes:
        try:
            link = await connect(address, key)
        except Unreachable as error:
            raise Nobody(f"{self.nothing}; what ran there was killed") from error
        method, letter, timeout_s = request
        try:
            payload, _ = await link.call(method, letter, timeout_s=timeout_s)
            return bytes(payload)
        finally:
            await link.close()
