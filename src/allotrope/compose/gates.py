"""The gate of a host: who may come in, and gRPC beside it."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from allotrope.compose.state import FOLDER
from allotrope.gateway.access.admission import Admission
from allotrope.gateway.access.keys import Keys
from allotrope.gateway.access.tokens import Tokens
from allotrope.gateway.gate import Gate
from allotrope.gateway.link import Link
from allotrope.kernel.errors import Refused
from allotrope.planning.plans import Plan
from allotrope.runtime.host import Host
from allotrope.runtime.tracing import Tracer

CALLERS = "callers.json"  # the API keys of a gateway, in the folder of its app


def gate(host: Host, folder: Path | None, tracer: Tracer, collectors: tuple[Any, ...] = ()) -> Gate:
    """Return the gate of a host."""
    return Gate(Link(host, tracer), admission(host.plan, folder), collectors)


def admission(plan: Plan, folder: Path | None) -> Admission:
    """Return who may come in: everybody here, until there is a file of keys or an issuer of tokens."""
    settings = plan.topology.gateway
    path = Path(settings.callers) if settings.callers else (folder or FOLDER) / CALLERS
    if settings.callers and not path.is_file():
        raise Refused(f"{path}: no such file of keys; make one with `allotrope keys new NAME --file {path}`")
    tokens = Tokens(settings.bearer) if settings.bearer is not None else None
    return Admission(settings, Keys(path), tokens)


@contextlib.asynccontextmanager
async def rpc(gate: Gate, address: tuple[str, int] | None, grace_s: float) -> AsyncIterator[int | None]:
    """Serve gRPC as well where there is an address for it, and give the port. Refused when it is not installed."""
    if address is None:
        yield None
        return
    with needs_grpc():
        from allotrope.gateway.rpc.server import RpcServer
    server = RpcServer(gate)
    port = await server.listen(*address)
    try:
        yield port
    finally:
        await server.stop(grace_s)


@contextlib.contextmanager
def needs_grpc() -> Iterator[None]:
    """Say what to install when gRPC is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise Refused(
            f"gRPC is not installed ({error.name}): python -m pip install 'allotrope[grpc]'"
        ) from None
