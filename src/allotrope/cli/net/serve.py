"""`allotrope serve`: an app behind its gateway, until it is told to stop."""

import asyncio
import sys
from collections.abc import Sized
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.loading import AppName, Folder, TopologyName, many, planned
from allotrope.cli.stopping import INTERRUPTED, desk, keep_journal, on_signals, started
from allotrope.compose.connectors import connected
from allotrope.compose.figures import shown
from allotrope.compose.gates import admission, gate, rpc, webhooks
from allotrope.gateway.access.admission import Admission
from allotrope.gateway.offers import offers_of
from allotrope.gateway.server import Server, bound
from allotrope.kernel.errors import Refused
from allotrope.planning.plans import Plan
from allotrope.runtime.doors.graces import WORK_S
from allotrope.runtime.options import Options
from allotrope.runtime.telemetry.journal import Level, Style, configure
from allotrope.runtime.tracing import Tracer

_OPEN = "everybody on this machine; `allotrope keys new NAME` makes a key, and then all need one"


@dataclass(frozen=True)
class Settings:
    """How to serve it."""

    topology: TopologyName = compose.DEFAULT
    folder: Folder = compose.FOLDER
    host: Annotated[str, Parameter(help="The address to listen on; beyond this machine it needs keys.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Parameter(help="The port; 0 takes a free one.")] = 8000
    grpc: Annotated[
        int | None, Parameter(help="A port for gRPC on the same address; 0 takes a free one.")
    ] = None
    log: Annotated[Style, Parameter(help="How logs are written, to stderr.")] = "text"
    log_level: Annotated[Level, Parameter(help="The least that is logged.")] = "info"

    @property
    def rpc(self) -> tuple[str, int] | None:
        """Return where gRPC is served, None where it is not asked for."""
        return None if self.grpc is None else (self.host, self.grpc)


def serve(app: AppName, /, *, settings: Annotated[Settings, Parameter(name="*")] = Settings()) -> int:
    """Serve an app over HTTP until it is told to stop."""
    configure(settings.log, settings.log_level)
    plan = planned(app, settings.topology)
    with asyncio.Runner(loop_factory=compose.fast_loop()) as runner:
        return runner.run(_supervise(plan, settings) if plan.apart else _serve(plan, settings))


async def _supervise(plan: Plan, settings: Settings) -> int:
    """Serve from a process of its own, which is started again should it end; the socket stays open meanwhile."""
    # Only here: one process pays for no distribution.
    from allotrope.compose.fleets import fleet
    from allotrope.engines.processes.process import Door

    callers = admission(plan, settings.folder)
    listener = bound(settings.host, settings.port, plan.topology.gateway, closed=callers.closed)
    door = Door(listener.fileno(), settings.rpc, callers.closed)
    units = fleet(plan, settings.folder, Options(), door)
    keep_journal(plan, settings.folder)
    stopping = on_signals(_say)
    try:
        units.start()
        rising, told = asyncio.create_task(units.up()), asyncio.create_task(stopping.wait())
        await asyncio.wait((rising, told), return_when=asyncio.FIRST_COMPLETED)
        if rising.done():
            await rising
            _say(_greeting(plan, callers, offers_of(plan), listener.getsockname()))
            await told
        rising.cancel()
        return 0 if rising.done() else INTERRUPTED
    finally:
        await units.close()
        listener.close()
        _say("stopped")


async def _serve(plan: Plan, settings: Settings) -> int:
    tracer = Tracer()
    options = Options(sinks=compose.sinks(plan.app, settings.folder), tracer=tracer)
    host = compose.build(plan.app, plan, settings.folder, options)
    keep_journal(plan, settings.folder)
    stopping = on_signals(_say)
    try:
        front = gate(host, settings.folder, tracer, shown(host))
        listener = bound(settings.host, settings.port, front.settings, closed=front.admission.closed)
        if not await started(host, stopping):
            return INTERRUPTED
        server = Server(front, listener, WORK_S)
        _say(_greeting(plan, front.admission, front.offers, listener.getsockname()))
        async with (
            desk(host, settings.folder),
            connected(host, settings.folder),
            webhooks(front, settings.folder),
            rpc(front, settings.rpc, WORK_S) as port,
        ):
            if port is not None:
                _say(f"  gRPC     {settings.host}:{port}; `allotrope proto` prints its contract")
            await server.run_until(stopping)
        if host.stopped is not None:
            raise Refused(f"{plan.app.name} has stopped itself: {host.stopped}")
        finished = await host.drain(WORK_S)
        answers = sum(front.counters.answers.values())
        _say(f"stopped: {many(answers, 'request')} answered{'; all finished' if finished else ''}")
        return 0 if finished else 1
    finally:
        await host.close()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _greeting(plan: Plan, admission: Admission, paths: Sized, bound_to: tuple[str, int]) -> str:
    name, port = bound_to[:2]
    scheme = "https" if plan.topology.gateway.certificate else "http"
    base = f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}"
    keys = admission.keys
    proof = [f"{many(len(keys), 'key')} in {keys.path}"] if keys.there else []
    proof += ["tokens of " + admission.tokens.bearer.issuer] if admission.tokens is not None else []
    lines = [
        f"{plan.app.name} under {plan.name.removesuffix('.toml')}",
        f"  serves   {base}, {many(len(paths), 'path')}; try {base}/docs",
        f"  opens to {' and '.join(proof) or _OPEN}",
    ]
    lines += [f"  warning  {warning}" for warning in plan.warnings]
    return "\n".join([*lines, "  stop it with Ctrl-C"])
