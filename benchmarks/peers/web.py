"""HTTP with JSON: aiohttp calls uvicorn, with Starlette or with a bare ASGI function; no TLS, no authentication."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.peers import harness
from benchmarks.peers.harness import ARRAY, ASKED, DEADLINE_S, TRACE, Features, Score

encode = msgspec.json.encode
asked = msgspec.json.Decoder(Features)
scored = msgspec.json.Decoder(Score)


def answer(path: str, body: bytes) -> bytes:
    """Return the body of the answer."""
    return encode(harness.total(body) if path == "/read" else harness.score(asked.decode(body)))


async def bare(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    """Answer as an ASGI application without a framework."""
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = answer(scope["path"], b"".join(parts))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def framed(request: Request) -> Response:
    """Answer as a Starlette endpoint."""
    return Response(answer(request.url.path, await request.body()), media_type="application/json")


def serve(way: str) -> None:
    """Answer until the end of the process."""
    routes = [Route(path, framed, methods=["POST"]) for path in ("/predict", "/read")]
    application = bare if way == "bare" else Starlette(routes=routes)
    config = uvicorn.Config(
        application,
        port=0,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="error",
        access_log=False,
        timeout_keep_alive=600,
    )
    door = config.bind_socket()
    door.listen(1024)
    print(door.getsockname()[1], flush=True)
    uvicorn.Server(config).run([door])


async def ask(way: str) -> None:
    """Call and measure."""
    with harness.callee("-m", "benchmarks.peers.web", way, "serve") as other:
        base = f"http://127.0.0.1:{other}"
        limit = aiohttp.ClientTimeout(total=DEADLINE_S)
        headers = {"traceparent": TRACE, "content-type": "application/json"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=limit, headers=headers) as session:

            async def small() -> Score:
                async with session.post(f"{base}/predict", data=encode(ASKED)) as reply:
                    return scored.decode(await reply.read())

            async def large() -> float:
                async with session.post(f"{base}/read", data=ARRAY.tobytes()) as reply:
                    return msgspec.json.decode(await reply.read(), type=float)

            await harness.answered(small, large)


if __name__ == "__main__":
    if sys.argv[2:] == ["serve"]:
        serve(sys.argv[1])
    else:
        uvloop.run(ask(sys.argv[1]))
