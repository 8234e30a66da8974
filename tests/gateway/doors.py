"""A gateway on a free port of this machine, in the loop of the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from allotrope.compose import build
from allotrope.compose.figures import shown
from allotrope.compose.gates import CALLERS, gate
from allotrope.gateway.access.keys import made
from allotrope.gateway.server import Server, bound
from allotrope.kernel.components import App
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from allotrope.runtime.tracing import Tracer
from tests.gateway.bakery import CLOSED, GATES, RUN, app


class Door:
    """What a test has of it."""

    def __init__(self, server: Server, host: Host, client: httpx.AsyncClient, port: int) -> None:
        self.server, self.host, self.client, self.port = server, host, client, port
        self.gate = gate = server.gate
        self.stopping = asyncio.Event()
        self.serving: asyncio.Task[None]
        self.tracer = gate.link.tracer

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, json={} if body is None else body, headers=named)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers={n.replace("_", "-"): v for n, v in headers.items()})

    async def raw(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        await writer.drain()
        return reader, writer


@contextlib.asynccontextmanager
async def opened(
    folder: Path, topology: str = "", *, keys: dict[str, tuple[str, ...]] | None = None, what: App = app
) -> AsyncIterator[Door]:
    """Serve an app, with a key per name in `keys` and its scopes; `door.client.headers` has the first."""
    GATES.clear(), CLOSED.clear(), RUN.clear()
    file = folder / "layout.toml"
    file.write_text('base = "monolith"\n' + topology, "utf-8")
    given = {name: made(folder / CALLERS, name, "", scopes) for name, scopes in (keys or {}).items()}
    tracer = Tracer()
    host = build(what, str(file), folder, Options(tracer=tracer))
    front = gate(host, folder, tracer, shown(host))
    listener = bound("127.0.0.1", 0, front.settings, closed=front.admission.closed)
    await host.start()
    port = listener.getsockname()[1]
    server = Server(front, listener, grace_s=2.0)
    headers = {"x-api-key": next(iter(given.values()))} if given else {}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20.0
    ) as client:
        door = Door(server, host, client, port)
        door.serving = asyncio.create_task(server.run_until(door.stopping))
        await server.up.wait()
        try:
            yield door
        finally:
            for waiting in GATES.values():
                waiting.set()
            await client.aclose()
            door.stopping.set()
            await door.serving
            await host.close()


async def until(true: Any) -> None:
    """Return once `true()` holds."""
    async with asyncio.timeout(20):
        for _ in iter(true, True):
            await asyncio.sleep(0.001)
