"""The companion: a replica's side of a sidecar. It starts it, starts it again, and shows what was dropped.

Nothing here waits for the sidecar but the end, and that no longer than its grace.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.planning.plans import Plan
from allotrope.planning.topology import Sidecar
from allotrope.runtime.doors.graces import SIDECAR_S
from allotrope.runtime.sites.backoff import Backoff
from allotrope.runtime.sites.station import Station
from allotrope.runtime.sites.wire import Served
from allotrope.runtime.telemetry.meters import Meter
from allotrope.runtime.telemetry.secrets import mask
from allotrope.sidecars.entries import MOST
from allotrope.sidecars.order import Order
from allotrope.sidecars.ring import Ring
from allotrope.sidecars.tap import Tap

log = logging.getLogger("allotrope.sidecars")
COMMAND = (sys.executable, "-m", "allotrope.cli.workers.sidecar")
_COUNT_S = 1.0
_LETTER = 16 << 10  # bytes up to which a letter keeps its arguments, where they are wanted


class Companion:
    """A sidecar as its replica sees it."""

    def __init__(self, order: Order, meter: Meter, command: Sequence[str] = COMMAND) -> None:
        """Make the ring; `order` says where to write; `meter` shows how it is."""
        self.ring = Ring(order.limits.ring_kb << 10)
        self.order = msgspec.structs.replace(
            order, ring=self.ring.descriptor, parent=os.getpid(), life=os.urandom(4).hex()
        )
        self.meter, self.command = meter, command
        self.pid = self.starts = 0
        self._process: asyncio.subprocess.Process | None = None

    def tapped(self, served: Served) -> Served:
        """Return what a replica answers to, watched."""
        return Tap(self.ring, _LETTER if self.order.limits.arguments else MOST).over(served)

    async def run(self) -> None:
        """Keep the sidecar there, until cancelled."""
        backoff = Backoff()
        while True:
            born = monotonic()
            try:
                await self._lived()
            except OSError as error:  # no process to be had
                log.warning("no sidecar for %s: %s", self.order.replica, error)
            await asyncio.sleep(backoff.pause(monotonic() - born))

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = process = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.PIPE, pass_fds=(self.ring.descriptor,)
        )
        self.pid, self.starts = process.pid, self.starts + 1
        assert process.stdin is not None
        process.stdin.write(
            msgspec.json.encode(self.order)
        )  # not as arguments: others could read the secrets
        process.stdin.close()
        return process

    async def _lived(self) -> None:
        """Start the sidecar, and return when it has ended."""
        process = await self._start()
        ended = asyncio.ensure_future(process.wait())
        try:
            while not ended.done():
                self._count()
                await asyncio.wait((ended,), timeout=_COUNT_S)
        finally:
            ended.cancel()
        self._count()
        log.warning(
            "the sidecar of %s ended with %s; starting another", self.order.replica, process.returncode
        )

    def _count(self) -> None:
        """Show in the metrics of the replica how often a sidecar was started and has ended, and what was dropped."""
        self.meter.started = self.starts
        self.meter.buckets[0] = self.starts - (self._process is not None and self._process.returncode is None)
        if dropped := self.ring.dropped:
            self.meter.errors["dropped"] = dropped

    async def close(self) -> None:
        """Let it write the rest, and see to its end; one that had ended is started once more if there is a rest."""
        self.ring.end()
        process = self._process
        if process is None or process.returncode is not None:
            process = await self._start() if self.ring.waiting else None
        if process is not None:
            try:
                async with asyncio.timeout(SIDECAR_S):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self.ring.close()


def companions(station: Station, folder: Path, name: str) -> Iterator[Companion]:
    """Yield the sidecars that the topology gives to a replica of this name."""
    plan, meters = station.plan, station.services.meters
    operations = [o for n in plan.units[station.unit] for o in plan.app.components[n].operations]
    for kind in plan.topology.unit[station.unit].sidecars:
        title = f"sidecar.{kind}"
        order = Order(
            unit=station.unit, replica=name, release=station.options.release, folder=str(folder),
            limits=plan.topology.sidecar.get(kind) or Sidecar(),
            names={operation.title: tuple(operation.parameters()) for operation in operations}, secrets=mask.known,
        )  # fmt: skip
        yield Companion(order, meters.setdefault(title, Meter(title)))


def check_companions(plan: Plan) -> None:
    """Raise Refused when a unit has a sidecar whose packages are not there."""
    for title, unit in plan.topology.unit.items():
        if unit.sidecars and find_spec("pyarrow") is None:
            raise Refused(
                f"unit `{title}` has sidecars, which need pyarrow: pip install 'allotrope[sidecar]'"
            )
