"""The calling side: one link to one server, shared by any number of callers. It neither reconnects nor chooses.

What it raises tells what the caller may do: Refused and its kinds when surely nothing ran, Lost when nobody knows,
RemoteError for what the server's code answered with.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allotrope.kernel.calls import NEVER
from allotrope.kernel.errors import Expired, Lost, Refused, nearest
from allotrope.transports.frames import errors, security, sockets, wire
from allotrope.transports.frames.addresses import Tcp, Unix, parsed
from allotrope.transports.frames.connection import Connection
from allotrope.transports.frames.errors import Unreachable
from allotrope.transports.frames.limits import Limits
from allotrope.transports.frames.security import Credentials

if TYPE_CHECKING:
    from typing_extensions import Buffer

Answer = tuple[bytes, wire.Buffers]
_APART_S = 0.001  # between two looks at all deadlines, however many pass one after the other


@dataclass(slots=True)
class Counters:
    """What a link has done since it was opened."""

    calls: int = 0
    streams: int = 0
    errors: int = 0  # answers that were errors
    lost: int = 0
    expired: int = 0  # cut by their deadline


class _Listening:
    """A stream that somebody listens to: what has come and was not read yet."""

    __slots__ = ("arrived", "at", "left", "method", "over", "unread", "waiter")

    def __init__(self, window: int, at: float, method: str) -> None:
        self.at, self.method = at, method  # its deadline, in the loop's time
        self.arrived: deque[Answer] = deque()
        self.left = window  # bytes that the server may still send
        self.unread = 0  # bytes that were read, and not yet granted again
        self.over: Exception | bool = False
        self.waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Link:
    """An open connection to a server. Made by `connect`, used on the loop that made it.

    A call costs no task and no timer of its own: its answer is a future, and all deadlines share one timer.
    """

    def __init__(self, place: str, connection: Connection) -> None:
        """Take over a connection that is about to open."""
        self.place, self.limits, self.counters = place, connection.limits, Counters()
        self.methods: dict[str, int] = {}
        self.peer = ""
        self._connection = connection
        self._loop = connection.loop
        self._calls: dict[int, tuple[asyncio.Future[Answer], float, str]] = {}  # deadline, method
        self._streams: dict[int, _Listening] = {}
        self._first = NEVER  # when the timer looks for deadlines that have passed
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0
        self._leaving = ""  # why the server takes no more calls
        self._ready: asyncio.Future[None] = self._loop.create_future()
        connection.receive, connection.ended = self._receive, self._ended

    @property
    def inflight(self) -> int:
        """Return how many calls and streams are waiting for their end."""
        return len(self._calls) + len(self._streams)

    @property
    def closed(self) -> bool:
        """Return whether a call would be refused: the link is broken or closed, or the server is leaving.

        Calls that run then still get their answers, for as long as the server gives them.
        """
        return not self._connection.open or bool(self._leaving)

    @property
    def broken(self) -> bool:
        """Return whether no answer can come any more."""
        return not self._connection.open

    @property
    def reason(self) -> str:
        """Return why the link is closed, "" while it is not."""
        return self._connection.reason or self._leaving

    async def wait_closed(self) -> str:
        """Return why the link ended, once it has."""
        return await asyncio.shield(self._connection.closed)

    async def close(self) -> None:
        """Write what is left and end; calls that still wait are Lost."""
        self._connection.close("the client closed it")
        await self.wait_closed()

    async def call(
        self, method: str, payload: bytes, buffers: Sequence[Buffer] = (), timeout_s: float | None = None
    ) -> Answer:
        """Return the answer's payload and buffers.

        The buffers that come are views not to be written; those in shared memory are given back when nobody holds
        them any more. The buffers that go must not be written to before the call has ended.
        Cancelling the caller cancels the call at the server.

        Raises RemoteError; Unreachable, Overloaded, Expired or Refused; Failed; Lost after `timeout_s`.
        """
        connection = self._connection
        if connection.paused:
            timeout_s = await self._turn(method, timeout_s)
        number = self._begin(method, timeout_s)
        future: asyncio.Future[Answer] = self._loop.create_future()
        ms = 0 if timeout_s is None else int(min(timeout_s * 1000, wire.MAX_MS)) or 1
        head = wire.CALL, self.methods[method], ms, number
        if buffers or len(payload) > connection.short_bytes:
            connection.send_laden(head, payload, buffers)
        else:
            connection.send(wire.frame(*head, payload))
        self._calls[number] = future, self._deadline(timeout_s), method
        self.counters.calls += 1
        try:
            return await future
        except asyncio.CancelledError:
            if self._calls.pop(number, None) is not None:
                connection.send(wire.frame(wire.CANCEL, number=number))
            raise
        finally:
            del future  # it holds its error, whose traceback holds this frame: a circle

    async def stream(
        self, method: str, payload: bytes, buffers: Sequence[Buffer] = (), timeout_s: float | None = None
    ) -> AsyncGenerator[Answer, None]:
        """Give what the server yields, as it is read; at most `window_bytes` come before they are.

        Closing the iterator early cancels the stream at the server. Raises as `call` does; `timeout_s` bounds the
        whole stream.
        """
        connection = self._connection
        if connection.paused:
            timeout_s = await self._turn(method, timeout_s)
        number = self._begin(method, timeout_s)
        ms = 0 if timeout_s is None else int(min(timeout_s * 1000, wire.MAX_MS)) or 1
        connection.send_laden((wire.OPEN, self.methods[method], ms, number), payload, buffers)
        connection.send(wire.frame(wire.CREDIT, ms=self.limits.window_bytes, number=number))
        listening = self._streams[number] = _Listening(
            self.limits.window_bytes, self._deadline(timeout_s), method
        )
        self.counters.streams += 1
        try:
            while True:
                while listening.arrived:
                    item = listening.arrived.popleft()
                    self._grant(listening, number, cost(item))
                    yield item
                if isinstance(listening.over, Exception):
                    raise listening.over
                if listening.over:
                    return
                listening.waiter = self._loop.create_future()
                await listening.waiter
        finally:
            if self._streams.pop(number, None) is not None and not listening.over:
                connection.send(wire.frame(wire.CANCEL, number=number))

    # The inside.

    async def _turn(self, method: str, timeout_s: float | None) -> float | None:
        """Wait until there is room to write, and return the time that is left then."""
        start = self._loop.time()
        try:
            async with asyncio.timeout(timeout_s):
                await self._connection.writable()
        except TimeoutError:
            raise Expired(f"{self.place}: the deadline of {method} passed before it could be sent") from None
        return None if timeout_s is None else timeout_s - (self._loop.time() - start)

    def _begin(self, method: str, timeout_s: float | None) -> int:
        """Return the number of a new call, when there may be one."""
        if self.closed:
            raise Unreachable(f"{self.place}: {self.reason}; use another link", 0.1)
        if method not in self.methods:
            raise Refused(f"{self.place} has no method `{method}`. {nearest(method, self.methods)}")
        if timeout_s is not None and timeout_s <= 0:
            raise Expired(f"{self.place}: the deadline of {method} had passed before it was sent")
        self._last += 1
        return self._last

    def _grant(self, listening: _Listening, number: int, size: int) -> None:
        """Let the server send as much again, in few words: once half of the window has been read."""
        listening.unread += size
        if listening.unread * 2 >= self.limits.window_bytes and not listening.over:
            self._connection.send(wire.frame(wire.CREDIT, ms=listening.unread, number=number))
            listening.left += listening.unread
            listening.unread = 0

    def _receive(
        self, kind: int, method: int, ms: int, number: int, payload: bytes, buffers: wire.Buffers
    ) -> None:
        if kind == wire.REPLY:
            waiting = self._calls.pop(number, None)
            if waiting is not None and not waiting[0].done():
                waiting[0].set_result((payload, buffers))
        elif kind == wire.ITEM:
            listening = self._streams.get(number)
            if listening is not None:
                if listening.left <= 0:
                    raise wire.Malformed("a stream brings more than was asked for")
                listening.left -= cost((payload, buffers))
                listening.arrived.append((payload, buffers))
                listening.wake()
        elif kind == wire.END:
            self._finish(number, None)
        elif kind == wire.ERROR:
            self.counters.errors += 1
            self._finish(number, errors.unpacked(method, payload))
        elif kind == wire.HELLO:
            self._greeted(payload)
        elif kind == wire.GOAWAY:
            self._leaving = payload.decode(errors="replace")
        else:
            raise wire.Malformed(f"a server sent a frame of kind {kind}")

    def _greeted(self, payload: bytes) -> None:
        self.methods = {name: number for number, name in enumerate(self._connection.greeted(payload))}
        self.peer = self.peer or self._connection.certificate()
        if not self._ready.done():
            self._ready.set_result(None)

    def _finish(self, number: int, error: Exception | None) -> None:
        """End a call or stream; a number that nobody waits for was cancelled here, and that is fine."""
        waiting = self._calls.pop(number, None)
        if waiting is not None and not waiting[0].done():
            waiting[0].set_exception(
                error or Lost(f"{self.place}: the server ended a call without an answer")
            )
        listening = self._streams.get(number)
        if listening is not None:
            listening.over = error or True
            listening.wake()

    def _deadline(self, timeout_s: float | None) -> float:
        """Return until when a call may take, in the loop's time, and see to it that the timer runs by then."""
        if timeout_s is None:
            return NEVER
        at = self._loop.time() + timeout_s
        if at < self._first:
            self._look(at)
        return at

    def _look(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._first, self._timer = at, self._loop.call_at(at, self._expire)

    def _expire(self) -> None:
        """Cut what is over its deadline, and look again at the next. Few calls are there when the timer ends."""
        now, self._first, self._timer = self._loop.time(), NEVER, None
        watched = [(at, number, method) for number, (_, at, method) in self._calls.items()]
        watched += [(each.at, number, each.method) for number, each in self._streams.items() if not each.over]
        for at, number, method in watched:
            if at <= now:
                self.counters.expired += 1
                self._connection.send(wire.frame(wire.CANCEL, number=number))
                self._finish(number, Lost(f"{self.place}: {method} did not end within its deadline"))
        following = min((at for at, *_ in watched if at > now), default=NEVER)
        if following < NEVER:
            self._look(max(following, now + _APART_S))

    def _ended(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._ready.done():
            self._ready.set_exception(Refused(f"{self.place}: not let in: {reason}"))
        waiting = [*self._calls, *self._streams]
        self.counters.lost += len(waiting)
        for number in waiting:
            self._finish(number, Lost(f"{self.place}: {reason}, before there was an answer"))


def cost(item: Answer) -> int:
    """Return what an item of a stream takes of its window."""
    return 64 + len(item[0]) + sum(buffer.nbytes for buffer in item[1])


async def connect(address: str, credentials: Credentials, limits: Limits | None = None) -> Link:
    """Return a link to the server at `address`, after each side has proved to the other who it is.

    Unreachable when nobody listens there; Refused, with the reason, when either side does not trust the other.
    """
    limits = limits or Limits()
    place = parsed(address)
    security.fitting(place, credentials)
    try:
        async with asyncio.timeout(limits.greeting_s):
            return await _opened(place, credentials, limits)
    except TimeoutError:
        raise Unreachable(
            f"{place}: no greeting within {limits.greeting_s:g} s; is it one of ours?", 1.0
        ) from None
    except ssl.SSLError as error:
        raise Refused(f"{place}: its certificate is not to be trusted: {error}") from None
    except OSError as error:
        raise Unreachable(f"{place}: broken off while greeting: {error}", 1.0) from None


async def _opened(place: Unix | Tcp, credentials: Credentials, limits: Limits) -> Link:
    loop = asyncio.get_running_loop()
    made = await sockets.connected(place)
    try:
        if isinstance(credentials, security.Key):
            peer, arena, window = await security.introduced(made, credentials, limits, security.greet)
            link = Link(str(place), Connection(limits, arena, window))
            link.peer = peer
            open_ = loop.create_unix_connection if isinstance(place, Unix) else loop.create_connection
            await open_(lambda: link._connection, sock=made)
        else:
            link = Link(str(place), Connection(limits))
            context = credentials.context(server=False)
            name = credentials.name or (place.host if isinstance(place, Tcp) else "")
            await loop.create_connection(
                lambda: link._connection, sock=made, ssl=context, server_hostname=name
            )
    except BaseException:
        made.close()
        raise
    try:
        link._connection.greet()
        await link._ready
    except BaseException:
        link._connection.abort("not let in")
        raise
    return link
