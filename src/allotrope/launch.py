"""What stands above one host: a fleet whose gateway is a process of its own, so that whatever ends comes back.

The supervisor holds the sockets and starts the processes; it takes no input and has no state, so little can end it.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import msgspec

from allotrope import compose
from allotrope.engines.processes.control import DOOR
from allotrope.engines.processes.lines import Lines
from allotrope.engines.processes.process import Door, Spec, served
from allotrope.gateway.gate import Gate
from allotrope.gateway.server import Server
from allotrope.kernel.codec import encode
from allotrope.kernel.errors import Refused
from allotrope.logs.sqlite import SqliteLog
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from allotrope.runtime.sites.apart import Apart
from allotrope.runtime.sites.wire import Served
from allotrope.runtime.telemetry.meters import Elsewhere, exposed
from allotrope.runtime.telemetry.metrics import Gauges, gauged
from allotrope.runtime.tracing import Tracer
from allotrope.transports.direct import direct
from allotrope.transports.frames.client import connect
from allotrope.transports.frames.security import Key

log = logging.getLogger("allotrope")
GRACE_S = 10.0
GATHER_S = 1.0  # between two looks at the counters of other processes


class Gateway:
    """The host of an app in a process of its own, as the post of that process sees it."""

    def __init__(self, host: Host, gate: Gate) -> None:
        """Be asked for nothing before it is up."""
        self.host, self.gate = host, gate
        self.loaded = False
        self.stopping = asyncio.Event()
        self.serving: asyncio.Task[None] | None = None

    @property
    def broken(self) -> str:
        """Return why it can do nothing more, "" while all is well."""
        serving, stopped = self.serving, self.host.stopped
        if serving is not None and serving.done() and not serving.cancelled():
            return str(serving.exception() or "it serves no more")
        return str(stopped) if self.loaded and stopped is not None else ""

    @property
    def busy(self) -> Mapping[int, int]:
        """Return how many requests run."""
        return {0: self.gate.inflight}

    def served(self) -> Served:
        """Return what it answers to, beside its pulse."""
        return Served({}, {})

    async def serve(self, door: Door) -> None:
        """Take requests once the host is up, until told to stop."""
        await self.host.start()
        server = Server(self.gate, socket.socket(fileno=os.dup(door.web)), GRACE_S)
        running = asyncio.create_task(server.run_until(self.stopping))
        async with _rpc(door, self.gate):
            await server.up.wait()
            self.loaded = True
            await running

    async def close(self) -> None:
        """Let the requests end, then all that they have set off; release what is held."""
        self.stopping.set()
        if self.serving is not None:
            if not self.loaded:
                self.serving.cancel()
            await asyncio.gather(self.serving, return_exceptions=True)
        finished = await self.host.drain(GRACE_S)
        answers = sum(self.gate.counters.answers.values())
        log.info("stopped: %d requests answered%s", answers, "; all finished" if finished else "")


async def gateway(spec: Spec, address: str) -> None:
    """Be the gateway of a fleet, until told to leave."""
    app = compose.load(spec.app)
    made, folder, secret = compose.planned(app, spec.document), Path(spec.folder), Key(spec.secret)
    compose.keep_known(app, folder)
    lines = Lines(secret)

    async def expel(name: str) -> None:
        link = await connect(f"unix:{Path(spec.secret).parent / DOOR}", secret)
        try:
            await link.call("expel", encode(name))
        finally:
            await link.close()

    lines.expelling = expel
    tracer = Tracer(place="gateway")
    options = Options(sinks=compose.sinks(app, folder), tracer=tracer, seed=spec.seed)
    options = msgspec.structs.replace(options, started=lambda: compose.keep_contract(app, folder))
    journal = SqliteLog(folder, made.topology.durability, made.topology.partitions, app.name)
    host = Host(made, journal, Apart(made, lines, {"rpc": direct}, options), options)
    shown = exposed(host.services.meters, gathered(host)), gauged(gauges(host))
    gate = compose.gate(host, folder, tracer, shown)
    assert spec.door is not None
    if spec.door.closed and not gate.admission.closed:
        journal.close()
        raise Refused(
            f"{folder / compose.CALLERS}: callers had to prove who they are, and there is no file of keys any "
            "more; put it back, or start anew"
        )
    charge = Gateway(host, gate)
    charge.serving = asyncio.create_task(charge.serve(spec.door))
    await served(charge, lines, address, secret)


def gauges(host: Host) -> Gauges:
    """Return what a host shows beside its counters."""
    return {
        "flows": ("Inputs in flight", lambda: len(host.flights.flows)),
        "floor_origin": ("Lowest origin that may be unfinished", host.flights.floor),
        "newest_origin": ("Origin of the newest input", lambda: host.flights.newest),
        "parked": ("Events parked since the start", lambda: host.site.parked),
        "spans_dropped": ("Spans lost since the start", lambda: host.services.tracer.dropped),
        "stopped": ("1 when nothing is taken any more", lambda: host.stopped is not None),
    }


def gathered(host: Host) -> Callable[[], Elsewhere] | None:
    """Return what gives the counters of the units of a host, a second old at most; None when it has none."""
    if not host.plan.apart:
        return None
    newest: list[Elsewhere] = [{}]

    async def follow() -> None:
        while True:
            newest[0] = await host.site.meters()
            await asyncio.sleep(GATHER_S)

    host.spawn(follow())
    return lambda: newest[0]


@contextlib.asynccontextmanager
async def _rpc(door: Door, gate: Gate) -> AsyncIterator[None]:
    if door.rpc is None:
        yield
        return
    from allotrope.gateway.rpc.server import RpcServer

    server = RpcServer(gate)
    await server.listen(*door.rpc)
    try:
        yield
    finally:
        await server.stop(GRACE_S)
