"""The control door of a fleet: what an operator sees of it and asks of it, at a socket in the folder of the app.

It is the engine that a host holds. Not here: how replicas are kept (`fleet`), and what a command line makes of this.
"""

import asyncio
import os
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import msgspec

from allotrope.engines.processes.fleet import GATEWAY, Fleet
from allotrope.engines.processes.member import Member, Usage
from allotrope.engines.processes.post import memory_mb
from allotrope.engines.processes.scaling import Scaler
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused, nearest
from allotrope.storage.locks import Lock
from allotrope.transports.frames.client import connect
from allotrope.transports.frames.errors import Unreachable
from allotrope.transports.frames.security import Key
from allotrope.transports.frames.server import Call, Server

DOOR, KEY = "fleet", "key"  # in the folder of sockets
MOST = 64  # replicas of one unit that an operator may ask for


class Seen(msgspec.Struct, frozen=True):
    """One process, as an operator sees it. `cpu` is its share of a core; its place was filled `starts` times."""

    unit: str
    name: str
    state: str  # starting, loading, ready, leaving
    pid: int
    partitions: tuple[int, ...] = ()
    cpu: float = 0.0
    memory_mb: float = 0.0
    calls: int = 0
    starts: int = 1
    age_s: float = 0.0


class Sight(msgspec.Struct, frozen=True):
    """A fleet, as an operator sees it; the host is the first of its processes."""

    app: str
    topology: str
    wanted: dict[str, int]  # replicas by unit
    processes: tuple[Seen, ...]


class Control:
    """A fleet with its door."""

    def __init__(self, fleet: Fleet, lock: Lock) -> None:
        """Open the door with the fleet; `lock` is that of its folder, held until it closes."""
        self.fleet, self.scaler, self.lock = fleet, Scaler(fleet), lock
        self._born, self._usage = monotonic(), Usage()
        methods = {
            "list": self._list,
            "scale": self._scale,
            "roll": self._roll,
            "renew": self._renew,
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
        return codec.encode(
            Sight(
                self.fleet.plan.app.name, self.fleet.plan.name.removesuffix(".toml"), dict(self.fleet.wanted),
                (self._host(), *map(seen, members)),
            )
        )  # fmt: skip

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
                f"unit `{unit}` is scaled by load between {least} and {most} replicas: its `replicas`"
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
        await self.fleet.roll(unit)
        return b""

    async def _renew(self, call: Call) -> bytes:
        """Start what comes from now on from the code as it is now."""
        self.fleet.launcher.nursery.renew()
        return b""


def seen(member: Member) -> Seen:
    """Return a replica as an operator sees it."""
    vital, pid = member.vital, 0 if member.process is None else member.process.pid
    state = "ready" if vital.ready else "loading"
    state = "leaving" if member.leaving else state if member.up else "starting"
    return Seen(
        member.unit, member.name, state, pid, tuple(sorted(member.partitions)), member.usage.share, vital.memory_mb,
        vital.calls, member.life, monotonic() - member.born,
    )  # fmt: skip


class Way(msgspec.Struct, frozen=True):
    """The way to the fleet of a folder."""

    folder: Path

    @property
    def nothing(self) -> str:
        """Return what to say when there is no fleet."""
        start = f"`allotrope run APP --topology microservices --folder {self.folder}`"
        return f"no units run in {self.folder}; start them with {start}"

    def ask(self, method: str, letter: bytes = b"", timeout_s: float | None = None) -> bytes:
        """Return what the fleet answers. Refused when none runs there."""
        run = self.folder.absolute() / "run"
        if not (run / DOOR).exists():
            raise Refused(self.nothing)
        return asyncio.run(self._asked(f"unix:{run / DOOR}", Key(run / KEY), method, letter, timeout_s))

    async def _asked(self, address: str, key: Key, *request: Any) -> bytes:
        try:
            link = await connect(address, key)
        except Unreachable as error:
            raise Refused(f"{self.nothing}; what ran there was killed") from error
        method, letter, timeout_s = request
        try:
            payload, _ = await link.call(method, letter, timeout_s=timeout_s)
            return bytes(payload)
        finally:
            await link.close()
