"""`allotrope serve`: an app behind its gateway, until it is told to stop."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator, Sized
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.loading import AppName, Folder, TopologyName, planned
from allotrope.cli.stopping import INTERRUPTED, keep_journal, on_signals, started
from allotrope.engines.processes.process import Door
from allotrope.gateway.access.admission import Admission
from allotrope.gateway.gate import Gate
from allotrope.gateway.offers import offers_of
from allotrope.gateway.server import Server, bound
from allotrope.kernel.errors import Refused
from allotrope.launch import gathered, gauges
from allotrope.planning.plans import Plan
from allotrope.runtime.options import Options
from allotrope.runtime.telemetry.journal import Level, Style, configure
from allotrope.runtime.telemetry.meters import exposed
from allotrope.runtime.telemetry.metrics import gauged
from allotrope.runtime.tracing import Tracer

GRACE_S = 10.0


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


def serve(app: AppName, /, *, settings: Annotated[Settings, Parameter(name="*")] = Settings()) -> int:
    """Serve an app over HTTP until it is told to stop."""
    configure(settings.log, settings.log_level)
    plan = planned(app, settings.topology)
    with asyncio.Runner(loop_factory=compose.fast_loop()) as runner:
        return runner.run(_supervise(plan, settings) if plan.apart else _serve(plan, settings))


async def _supervise(plan: Plan, settings: Settings) -> int:
    """Serve from a process of its own, which is started again should it end; the socket stays open meanwhile."""
    admission = compose.admission(plan, settings.folder)
    listener = bound(settings.host, settings.port, plan.topology.gateway, closed=admission.closed)
    rpc = None if settings.grpc is None else (settings.host, settings.grpc)
    door = Door(listener.fileno(), rpc, admission.closed)
    fleet = compose.fleet(plan, settings.folder, Options(), door)
    keep_journal(plan, settings.folder)
    stopping = on_signals(_say)
    try:
        fleet.start()
        rising, told = asyncio.create_task(fleet.up()), asyncio.create_task(stopping.wait())
        await asyncio.wait((rising, told), return_when=asyncio.FIRST_COMPLETED)
        if rising.done():
            await rising
            _say(_greeting(plan, admission, offers_of(plan), listener.getsockname()))
            await told
        rising.cancel()
        return 0 if rising.done() else INTERRUPTED
    finally:
        await fleet.close()
        listener.close()
        _say("stopped")


async def _serve(plan: Plan, settings: Settings) -> int:
    tracer = Tracer()
    options = Options(sinks=compose.sinks(plan.app, settings.folder), tracer=tracer)
    host = compose.build(plan.app, plan, settings.folder, options)
    keep_journal(plan, settings.folder)
    stopping = on_signals(_say)
    try:
        shown = exposed(host.services.meters, gathered(host)), gauged(gauges(host))
        gate = compose.gate(host, settings.folder, tracer, shown)
        listener = bound(settings.host, settings.port, gate.settings, closed=gate.admission.closed)
        if not await started(host, stopping):
            return INTERRUPTED
        server = Server(gate, listener, GRACE_S)
        _say(_greeting(plan, gate.admission, gate.offers, listener.getsockname()))
        async with _grpc(gate, settings):
            await server.run_until(stopping)
        if host.stopped is not None:
            raise Refused(f"{plan.app.name} has stopped itself: {host.stopped}")
        finished = await host.drain(GRACE_S)
        answers = sum(gate.counters.answers.values())
        _say(f"stopped: {answers:,} requests answered{'; all finished' if finished else ''}")
        return 0 if finished else 1
    finally:
        await host.close()


@contextlib.asynccontextmanager
async def _grpc(gate: Gate, settings: Settings) -> AsyncIterator[None]:
    """Serve gRPC as well, where it is asked for."""
    if settings.grpc is None:
        yield
        return
    with needs_grpc():
        from allotrope.gateway.rpc.server import RpcServer
    server = RpcServer(gate)
    port = await server.listen(settings.host, settings.grpc)
    _say(f"  gRPC     {settings.host}:{port}; `allotrope proto` prints its contract")
    try:
        yield
    finally:
        await server.stop(GRACE_S)


@contextlib.contextmanager
def needs_grpc() -> Iterator[None]:
    """Say what to install when gRPC is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise Refused(
            f"gRPC is not installed ({error.name}): python -m pip install 'allotrope[grpc]'"
        ) from None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _greeting(plan: Plan, admission: Admission, paths: Sized, bound_to: tuple[str, int]) -> str:
    name, port = bound_to[:2]
    scheme = "https" if plan.topology.gateway.certificate else "http"
    base = f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}"
    keys = admission.keys
    proof = [f"{len(keys)} keys in {keys.path}"] if keys is not None else []
    proof += ["tokens of " + admission.tokens.bearer.issuer] if admission.tokens is not None else []
    lines = [
        f"{plan.app.name} under {plan.name.removesuffix('.toml')}",
        f"  serves   {base}, {len(paths)} paths; try {base}/docs",
        f"  opens to {' and '.join(proof) or 'everybody on this machine; `allotrope keys new NAME` makes a key'}",
    ]
    lines += [f"  warning  {warning}" for warning in plan.warnings]
    return "\n".join([*lines, "  stop it with Ctrl-C"])
