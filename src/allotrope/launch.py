"""What stands above one host: a fleet whose gateway is a process of its own, so that whatever ends comes back.

The supervisor holds the sockets and starts the processes; it takes no input and has no state, so little can end it.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec

from allotrope import compose
from allotrope.compose.connectors import connected
from allotrope.compose.contracts import keep_known
from allotrope.compose.figures import shown
from allotrope.compose.gates import CALLERS, gate, rpc, webhooks
from allotrope.compose.logs import log_of
from allotrope.engines.desk import opened
from allotrope.engines.processes.control import DOOR
from allotrope.engines.processes.lines import Lines
from allotrope.engines.processes.process import Door, Spec, served
from allotrope.gateway.gate import Gate
from allotrope.gateway.server import Server
from allotrope.kernel.codec import encode
from allotrope.kernel.errors import Refused
from allotrope.runtime.doors.graces import WORK_S
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from allotrope.runtime.sites.apart import Apart
from allotrope.runtime.sites.wire import Served
from allotrope.runtime.tracing import Tracer
from allotrope.transports.direct import direct
from allotrope.transports.frames.client import connect
from allotrope.transports.frames.security import Key

log = logging.getLogger("allotrope")


class Gateway:
    """The host of an app in a process of its own, as the post of that process sees it."""

    def __init__(self, host: Host, gate: Gate, folder: Path) -> None:
        """Be asked for nothing before it is up."""
        self.host, self.gate, self.folder = host, gate, folder
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
        server = Server(self.gate, socket.socket(fileno=os.dup(door.web)), WORK_S)
        running = asyncio.create_task(server.run_until(self.stopping))
        async with (
            opened(self.host, self.folder),
            connected(self.host, self.folder),
            rpc(self.gate, door.rpc, WORK_S),
            webhooks(self.gate, self.folder),
        ):
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
        finished = await self.host.drain(WORK_S)
        answers = sum(self.gate.counters.answers.values())
        log.info("stopped: %d requests answered%s", answers, "; all finished" if finished else "")


async def gateway(spec: Spec, address: str) -> None:
    """Be the gateway of a fleet, until told to leave."""
    app = compose.load(spec.app)
    made, folder, secret = compose.planned(app, spec.document), Path(spec.folder), Key(spec.secret)
    keep_known(app, folder)
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
    options = compose.keeping(made, folder, options)
    journal = log_of(made.topology, folder, app.name)
    host = Host(made, journal, Apart(made, lines, {"rpc": direct}, options), options)
    front = gate(host, folder, tracer, shown(host))
    assert spec.door is not None
    if spec.door.closed and not front.admission.closed:
        journal.release()
        raise Refused(
            f"{folder / CALLERS}: callers had to prove who they are, and there is no file of keys any "
            "more; put it back, or start anew"
        )
    charge = Gateway(host, front, folder)
    charge.serving = asyncio.create_task(charge.serve(spec.door))
    await served(charge, lines, address, secret)
