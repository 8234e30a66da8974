"""One client of a server: runs what it calls, within bounds, and tells it how each call ended.

It does not cut a call at its deadline: the client does, by its one timer, and its word or its end cancels the call
here. Nothing is queued: what is too much is refused at once.

Each call has a task of its own. To begin it without one, until it first waits, was tried: it saved 0.5 of 6 us for
64 callers, and a lone one 1.5 of 18 us, at the price of a task that several calls share one after the other.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from allotrope.kernel.errors import Lost, Overloaded, Refused
from allotrope.transports.frames import errors, wire
from allotrope.transports.frames.connection import Connection
from allotrope.transports.frames.errors import Unreachable


class Call(msgspec.Struct):
    """One call as it has come. Views in `buffers` stay good for as long as somebody holds them."""

    method: str
    payload: bytes
    buffers: wire.Buffers
    deadline: float | None  # in the loop's time; the client lets go then, so the work may be given up
    peer: str  # the common name of its certificate, else its process


Answer = bytes | tuple[bytes, Any]  # a payload, or a payload and a sequence of buffers
Handler = Callable[[Call], Awaitable[Answer]]
Streamer = Callable[[Call], AsyncGenerator[Answer, None]]


@dataclass(slots=True)
class Counters:
    """What a server has done since it was made."""

    links: int = 0  # let in
    refused_links: int = 0
    calls: int = 0
    refused: int = 0  # calls over a limit, or while leaving
    errors: int = 0
    cancelled: int = 0


class Staff:
    """What all clients of a server share: the handlers, and how many calls run."""

    def __init__(self, handlers: Mapping[str, Handler], streams: Mapping[str, Streamer]) -> None:
        """Answer calls of `handlers` and `streams`, by name; Refused when a name is in both."""
        both = sorted(handlers.keys() & streams.keys())
        if both:
            raise Refused(f"method `{both[0]}` is given twice, as a call and as a stream; give it two names")
        self.names = (*handlers, *streams)
        self.handlers: list[Handler | None] = [*handlers.values(), *(None for _ in streams)]
        self.streamers: list[Streamer | None] = [*(None for _ in handlers), *streams.values()]
        self.counters = Counters()
        self.running = 0
        self.leaving = ""  # why no more calls are taken
        self._idle: asyncio.Future[None] | None = None

    def finished(self) -> None:
        """Count a call that has ended."""
        self.running -= 1
        if not self.running and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def idle(self, grace_s: float) -> None:
        """Return once nothing runs any more, or when the time is over."""
        if self.running:
            self._idle = asyncio.get_running_loop().create_future()
            await asyncio.wait((self._idle,), timeout=grace_s)


class Peer:
    """One client: its calls in progress, by number."""

    def __init__(self, staff: Staff, connection: Connection, name: str) -> None:
        """Answer what comes by a connection that is about to open."""
        self.staff, self.connection, self.name = staff, connection, name
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._credits: dict[int, Credit] = {}
        self._held, self._limits, self._loop = 0, connection.limits, connection.loop
        self.left: Callable[[Peer], None] = lambda peer: None  # told of the end, once
        connection.receive, connection.ended, connection.patient = self._receive, self._ended, False

    def work(self) -> list[asyncio.Task[None]]:
        """Return the tasks of the calls in progress."""
        return list(self._tasks.values())

    def cut(self, reason: str) -> None:
        """Cancel what runs and close."""
        for number, task in self._tasks.items():
            self._refuse(number, Lost(f"cut while it ran: {reason}"))
            self._cancel(task)
        self.connection.close(reason)

    def _receive(
        self, kind: int, method: int, ms: int, number: int, payload: bytes, buffers: wire.Buffers
    ) -> None:
        if kind == wire.CALL or kind == wire.OPEN:
            self._begin(kind, method, ms, number, payload, buffers)
        elif kind == wire.CANCEL:
            task = self._tasks.get(number)
            if task is not None:
                self.staff.counters.cancelled += 1
                self._cancel(task)
        elif kind == wire.CREDIT:
            if number in self._credits:
                self._credits[number].grant(ms)
        elif kind == wire.HELLO:
            self.connection.greeted(payload)
        elif kind != wire.GOAWAY:
            raise wire.Malformed(f"a client sent a frame of kind {kind}")

    def _begin(
        self, kind: int, method: int, ms: int, number: int, payload: bytes, buffers: wire.Buffers
    ) -> None:
        staff, tasks, limits, loop = self.staff, self._tasks, self._limits, self._loop
        ways = staff.handlers if kind == wire.CALL else staff.streamers
        way = ways[method] if method < len(ways) else None
        if way is None or number in tasks:
            raise wire.Malformed(f"method {method} is not of this kind, or call {number} runs already")
        size = wire.length(payload, buffers) if buffers else len(payload)
        if staff.leaving:
            self._refuse(number, Unreachable(f"nothing ran: {staff.leaving}; use another link", 0.1))
        elif len(tasks) >= limits.calls_per_link or staff.running >= limits.calls_in_all:
            self._refuse(number, Overloaded(f"{staff.running} calls run already; come back later", 0.1))
        elif self._held + size > limits.held_bytes and tasks:
            self._refuse(number, Overloaded(f"running calls hold {self._held:,} bytes; come back later", 0.1))
        else:
            deadline = loop.time() + ms / 1000 if ms else None
            call = Call(staff.names[method], payload, buffers, deadline, self.name)
            del payload, buffers
            self._held += size
            staff.running += 1
            staff.counters.calls += 1
            if kind == wire.CALL:
                work = self._answer(number, way, call, size)
            else:
                self._credits[number] = Credit(loop)
                work = self._yield(number, way, call, size)
            tasks[number] = loop.create_task(work)

    # Whatever happens in these two, the client is told how its call ended, and the call is counted out.

    async def _answer(self, number: int, way: Any, call: Call, size: int) -> None:
        try:
            if self.connection.paused:
                await self.connection.writable()  # before there is an answer, since that would wait in memory
            answer = await way(call)
            if type(answer) is bytes and len(answer) <= self.connection.short_bytes:
                self.connection.send(wire.frame(wire.REPLY, number=number, payload=answer))
            else:
                self._send(wire.REPLY, number, answer)
        except asyncio.CancelledError:
            self._refuse(number, Lost(f"{call.method} was cancelled while it ran"))
        except Exception as error:
            self._refuse(number, error, call.method)
        finally:
            self._end(number, size)

    async def _yield(self, number: int, way: Any, call: Call, size: int) -> None:
        credit = self._credits[number]
        try:
            async with contextlib.aclosing(way(call)) as items:
                async for item in items:
                    await credit.spend(self._send(wire.ITEM, number, item))
                    await self.connection.writable()
            self.connection.send(wire.frame(wire.END, number=number))
        except asyncio.CancelledError:
            self._refuse(number, Lost(f"{call.method} was cancelled while it ran"))
        except Exception as error:
            self._refuse(number, error, call.method)
        finally:
            del self._credits[number]
            self._end(number, size)

    def _send(self, kind: int, number: int, answer: Any) -> int:
        """Write an answer, and return what it takes of a stream's window."""
        payload, buffers = (answer, ()) if isinstance(answer, bytes) else answer
        try:
            self.connection.send_laden((kind, 0, 0, number), payload, buffers)
        except Refused as refused:  # to the caller it would say that nothing ran
            raise ValueError(f"its answer cannot be sent: {refused}") from None
        return 64 + len(payload) + sum(memoryview(buffer).nbytes for buffer in buffers)

    def _refuse(self, number: int, error: BaseException, method: str = "") -> None:
        """Write an error; one that is too long is told as another, since silence would leave the caller waiting."""
        code, payload = errors.packed(error, method)
        counters = self.staff.counters
        if isinstance(error, Overloaded | Unreachable) and number not in self._tasks:
            counters.refused += 1
        else:
            counters.errors += 1
        if len(payload) > self.connection.peer_bytes:
            code, payload = errors.packed(ValueError("what it raised is too long to be sent"), method)
        self.connection.send_laden((wire.ERROR, code, 0, number), payload, ())

    def _end(self, number: int, size: int) -> None:
        del self._tasks[number]
        self._held -= size
        self.staff.finished()

    def _cancel(self, task: asyncio.Task[None]) -> None:
        # Not now: a task that is cancelled before its first step runs nothing, not even what counts its end.
        self.connection.loop.call_soon(task.cancel)

    def _ended(self, reason: str) -> None:
        for task in self.work():
            self._cancel(task)
        self.left(self)


class Credit:
    """How many bytes a stream may send before its listener has read some."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._left = loop, 0
        self._waiter: asyncio.Future[None] | None = None

    def grant(self, size: int) -> None:
        """Allow so many bytes more."""
        self._left += size
        if self._left > 0 and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def spend(self, size: int) -> None:
        """Return once there is credit again. The last item may exceed it: so one may be larger than the window."""
        self._left -= size
        while self._left <= 0:
            self._waiter = self._loop.create_future()
            await self._waiter
