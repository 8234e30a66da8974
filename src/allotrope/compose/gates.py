"""The gate of a host: who may come in, and gRPC beside it."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from allotrope.compose.state import FOLDER
from allotrope.gateway.access.admission import Admission
from allotrope.gateway.access.keys import Keys
from allotrope.gateway.access.seals import Seals
from allotrope.gateway.access.tokens import Tokens
from allotrope.gateway.gate import Gate
from allotrope.gateway.link import Link
from allotrope.gateway.webhooks.subscriptions import read
from allotrope.kernel.errors import Refused
from allotrope.planning.plans import Plan
from allotrope.runtime.host import Host
from allotrope.runtime.tracing import Tracer
from allotrope.storage.folders import write

log = logging.getLogger("allotrope")
NO_LOG = "durability is none, so there is no log to send from; take `process` or more"
NO_CLIENT = "aiohttp is not there: pip install 'allotrope[foreign]'"
SECRET, SECRET_BYTES = "requests.key", 32  # that makes ids of requests, in the folder of the app
CALLERS = "callers.json"  # the API keys of a gateway, in the folder of its app


def gate(host: Host, folder: Path | None, tracer: Tracer, collectors: tuple[Any, ...] = ()) -> Gate:
    """Return the gate of a host."""
    return Gate(Link(host, tracer), admission(host.plan, folder), seals(host.plan, folder), collectors)


def seals(plan: Plan, folder: Path | None) -> Seals:
    """Return what makes the ids of accepted requests: good for as long as what they stand for is kept."""
    if plan.topology.durability == "none":
        return Seals(secrets.token_bytes(SECRET_BYTES))
    path = (folder or FOLDER) / SECRET
    with contextlib.suppress(FileExistsError):
        write(path, secrets.token_bytes(SECRET_BYTES))
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise Refused(
            f"{path} has {len(secret)} bytes, not {SECRET_BYTES}; remove it: ids of requests end with it"
        )
    return Seals(secret)


@contextlib.asynccontextmanager
async def webhooks(gate: Gate, folder: Path) -> AsyncIterator[None]:
    """Send webhooks for as long as it is entered, where there is a log to send from."""
    if not gate.link.durable or find_spec("aiohttp") is None:
        if read(folder).webhooks:
            log.error("no webhook is sent: %s", NO_LOG if not gate.link.durable else NO_CLIENT)
        yield
        return
    from allotrope.gateway.webhooks.deliveries import Deliveries  # only here: it loads a client

    marks = seals(gate.link.plan, folder)
    deliveries = Deliveries(gate.link, folder, lambda name: f"msg_{marks.name(name)}")
    task = asyncio.get_running_loop().create_task(deliveries.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


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
