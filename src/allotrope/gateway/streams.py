"""Replies: a whole body, or pieces as server-sent events that end with an event that says how.

    data: {...}                 for each piece
    event: end                  all were sent
    event: problem, data: {...} what came between

Source: HTML Living Standard, 9.2, server-sent events.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any

import msgspec

from allotrope.gateway.access.callers import Caller
from allotrope.gateway.link import Visit
from allotrope.gateway.problems import Problem, problem_of
from allotrope.gateway.values import to_json
from allotrope.kernel.errors import Lost
from allotrope.runtime.doors.deadlines import Deadlines

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
JSON, EVENTS = b"application/json", b"text/event-stream"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A piece that is written as it is."""

    data: bytes


class Reply(msgspec.Struct):
    """What goes back: a whole body, or pieces."""

    status: int
    body: bytes = b""
    media: bytes = JSON
    fields: list[tuple[bytes, bytes]] = []
    pieces: AsyncGenerator[Any, None] | None = None
    caller: Caller | None = None  # who holds a place until the last piece is sent


class Streams:
    """The streams that are open."""

    def __init__(self, deadlines: Deadlines, statuses: Mapping[str, int]) -> None:
        """Share the gate's timer."""
        self._deadlines, self._statuses = deadlines, statuses
        self._open: set[asyncio.Task[Any]] = set()
        self._draining = False

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def drain(self) -> None:
        """End them all, each with a problem that says so."""
        self._draining = True
        for task in self._open:
            task.cancel()

    async def send(self, send: Send, receive: Receive, reply: Reply, visit: Visit) -> None:
        """Send the pieces until they end, the client goes, the deadline passes or the gate is drained."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None, "an ASGI server runs each request as a task"
        assert reply.pieces is not None, "a whole body is sent by the gate"
        before = task.cancelling()
        gone = loop.create_task(_gone(receive))

        def leave(_: asyncio.Task[None]) -> None:
            task.cancel()

        gone.add_done_callback(leave)
        left = visit.until - perf_counter()
        armed = self._deadlines.arm(loop.time() + left) if left < float("inf") else None
        self._open.add(task)
        try:
            fields = [(b"content-type", EVENTS), (b"cache-control", b"no-store"), *reply.fields]
            await send({"type": "http.response.start", "status": reply.status, "headers": fields})
            try:
                async for piece in reply.pieces:
                    frame = piece.data if isinstance(piece, Frame) else b"data: %b\n\n" % to_json(piece)
                    await _sent(send, frame)
                last = b"event: end\ndata: {}\n\n"
            except asyncio.CancelledError:
                if not (self._draining or (armed is not None and armed.cut)) or gone.done():
                    raise
                task.uncancel()
                late = Problem(503, "overloaded", "shutting down; ask again later", 1.0)
                last = self._last(late if self._draining else Lost("cut at its deadline"), visit)
            except Exception as error:
                last = self._last(error, visit)
            await _sent(send, last, more=False)
        except asyncio.CancelledError:
            if not gone.done() or task.uncancel() > before:
                raise
        finally:
            self._open.discard(task)
            gone.remove_done_callback(leave)
            gone.cancel()
            if armed is not None:
                self._deadlines.disarm(armed)
            await reply.pieces.aclose()

    def _last(self, error: Exception, visit: Visit) -> bytes:
        problem = problem_of(error, visit, self._statuses)
        return b"event: problem\ndata: %b\n\n" % to_json(problem.body(visit.request))


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _sent(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
