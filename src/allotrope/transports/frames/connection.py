"""One open connection: frames in, frames out, written once per turn of the loop. Client and server share it.

It keeps what is written bounded, notices a peer that is silent or does not read, and says why it ended. It does not
know what a call is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.transports.frames import wire
from allotrope.transports.frames.limits import LEAST_BYTES, Limits
from allotrope.transports.frames.shared import Arena, Window

if TYPE_CHECKING:
    from typing_extensions import Buffer  # the standard library names it from 3.12 on

Hello = tuple[int, int, tuple[str, ...]]  # version, longest frame, names of the server's methods by number
CLOSING = 1  # the code of a GOAWAY after which nothing follows; 0 lets what runs finish


class Connection(asyncio.BufferedProtocol):
    """The protocol of one transport; `receive` and `ended` are set by who uses it, before it is connected."""

    def __init__(self, limits: Limits, arena: Arena | None = None, window: Window | None = None) -> None:
        """Send through `arena` and read from `window` what is large, where they are given."""
        self.limits, self.arena, self.window = limits, arena, window
        self.loop = asyncio.get_running_loop()
        self.receive: wire.Receive = _unheard
        self.ended: Callable[[str], None] = _ignored
        self.reason = ""  # why it ended, or is about to
        self.short_bytes = min(limits.frame_bytes, wire.LARGE)  # a payload that needs no look at its size
        self.peer_bytes = limits.frame_bytes  # the longest frame that the other side takes
        self.open = False
        self.paused = False  # too much waits to be written: here, or in the transport
        self.patient = True  # read on while it does; a server does not, or it would write ever more
        self._stuck_at = 0.0  # since when the transport takes no more, 0 while it does
        self._queued = 0  # bytes in `_out`
        self._waiting: list[asyncio.Future[None]] = []
        self._out: list[bytes | memoryview] = []
        self._due = False  # a flush is scheduled
        self._large = False  # something in `_out` is better not copied
        self._heard = True
        self._pinged = False
        self._timer: asyncio.TimerHandle | None = None
        self._decoder = wire.Decoder(limits, self._pass, window)
        self._transport: asyncio.Transport
        self.closed: asyncio.Future[str] = self.loop.create_future()
        if window is not None:
            window.wake = self._released

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(high=self.limits.write_bytes)
        self.open = True
        self._timer = self.loop.call_later(self.limits.ping_s, self._tick)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        return self._decoder.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes that have come."""
        self._heard = True
        try:
            self._decoder.feed(nbytes)
        except (wire.Malformed, msgspec.DecodeError, UnicodeDecodeError) as error:
            self.close(f"malformed: {error}")

    def eof_received(self) -> None:
        """Close when the other side has closed its half."""

    def pause_writing(self) -> None:
        """Note that the other side reads more slowly than we write."""
        self.paused, self._stuck_at = True, self.loop.time()
        if not self.patient:
            self._transport.pause_reading()
        self.loop.call_later(self.limits.stall_s, self._stalled, self._stuck_at)

    def resume_writing(self) -> None:
        """Wake who waits to write."""
        self.paused, self._stuck_at = False, 0.0
        if not self.patient and self.open:
            self._transport.resume_reading()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who uses this connection, once."""
        self.open = False
        self.reason = self.reason or (f"the connection broke: {exc}" if exc else "the other side closed it")
        if self._timer is not None:
            self._timer.cancel()
        if self.window is not None:
            self.window.wake = None
        self._out.clear()
        self.ended(self.reason)  # first: who waits to write is cancelled, and does not go on for nothing
        self.resume_writing()
        # Without circles the memory, and its open files, go now and not when the collector comes.
        self.receive, self.ended = _unheard, _ignored
        self.arena = self.window = None
        self._decoder = wire.Decoder(self.limits, _unheard)
        if not self.closed.done():
            self.closed.set_result(self.reason)

    # What client and server call.

    def send(self, data: bytes | memoryview) -> None:
        """Write a frame at the end of this turn of the loop, together with all others of the turn."""
        self._out.append(data)
        self._queued += len(data)
        if self._queued > self.limits.write_bytes:
            self.paused = True  # one turn of the loop may bring many calls with long answers
        if not self._due:
            self._due = True
            self.loop.call_soon(self._flush)

    def send_laden(self, head: tuple[int, int, int, int], payload: bytes, buffers: Sequence[Buffer]) -> None:
        """Write a frame with raw buffers; Refused, and nothing is written, when it is longer than the peer takes."""
        views = _flat(buffers)
        if len(views) > self.limits.buffers or len(payload) > self.peer_bytes:
            self.check(payload, views)
        blocks = [self._lend(view) for view in views]
        shared = self._lend(memoryview(payload))
        try:
            inline = [view for view, block in zip(views, blocks, strict=True) if block < 0]
            self.check(b"" if shared >= 0 else payload, inline)
        except Refused:
            for block in (*blocks, shared):
                if block >= 0 and self.arena is not None:
                    self.arena.release(block)
            raise
        if shared >= 0:
            blocks.append(shared)
        *before, last = pieces = wire.laden(head, payload, views, blocks)
        self._large = self._large or any(len(piece) > wire.LARGE for piece in pieces)
        self._out += before
        self._queued += sum(map(len, before))
        self.send(last)

    def check(self, payload: bytes, views: Sequence[memoryview]) -> None:
        """Return in peace when a frame of this size may be sent; Refused otherwise."""
        size = wire.length(payload, views)
        if size > self.peer_bytes:
            raise Refused(
                f"frame of {size:,} bytes, but the other side takes {self.peer_bytes:,}; "
                "send less at once, or raise its frame_bytes"
            )
        if len(views) > self.limits.buffers:
            raise Refused(
                f"{len(views)} buffers, limit {self.limits.buffers}; send fewer, or raise `buffers`"
            )

    async def writable(self) -> None:
        """Return once there is room to write, or the connection has ended."""
        while self.paused and self.open:
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._waiting.append(waiter)
            await waiter

    def greet(self, methods: tuple[str, ...] = ()) -> None:
        """Say first of all what this side is, and which methods it has."""
        told: Hello = (wire.VERSION, self.limits.frame_bytes, methods)
        self.send(wire.frame(wire.HELLO, payload=msgspec.msgpack.encode(told)))

    def greeted(self, payload: bytes) -> tuple[str, ...]:
        """Note what the other side is, and return its methods; Malformed when it is another version."""
        told: Hello = msgspec.msgpack.decode(payload, type=Hello)
        version, longest, methods = told
        if version != wire.VERSION:
            raise wire.Malformed(
                f"the other side speaks version {version}, this one {wire.VERSION}; update the older"
            )
        if longest < LEAST_BYTES:
            raise wire.Malformed(f"the other side takes frames of {longest} bytes at most, which is none")
        self.peer_bytes = longest
        self.short_bytes = min(longest, wire.LARGE)
        return methods

    def close(self, reason: str) -> None:
        """Say why, write what is left for at most `close_s`, and end."""
        if not self.open or self._transport.is_closing():
            return
        self.reason = self.reason or reason
        self.receive = _unheard
        self.send(wire.frame(wire.GOAWAY, CLOSING, payload=reason.encode("utf-8", "replace")[:400]))
        self._flush()
        self._transport.close()
        self.loop.call_later(self.limits.close_s, self._transport.abort)

    def abort(self, reason: str) -> None:
        """End at once; what was not yet written is lost."""
        self.reason = self.reason or reason
        self._transport.abort()

    def certificate(self) -> str:
        """Return the name in the peer's certificate, "" without one."""
        found = self._transport.get_extra_info("peercert") or {}
        names = [value for part in found.get("subject", ()) for key, value in part if key == "commonName"]
        return names[0] if names else ""

    # The inside.

    def _pass(
        self, kind: int, method: int, ms: int, number: int, payload: bytes, buffers: wire.Buffers
    ) -> None:
        if kind < wire.PING:
            self.receive(kind, method, ms, number, payload, buffers)
        elif kind == wire.PING:
            self.send(wire.frame(wire.PONG))
        elif kind == wire.RELEASE:
            if self.arena is None or number > wire.MAX_MS:
                raise wire.Malformed("shared memory was given back, though none was lent")
            self.arena.release(number)
        elif kind == wire.GOAWAY:
            if method == CLOSING:
                self.reason = self.reason or f"the other side closed it: {payload.decode(errors='replace')}"
            self.receive(kind, method, ms, number, payload, buffers)

    def _flush(self) -> None:
        """Hand over what this turn has brought: a call to the system costs more than a frame."""
        self._due = False
        out, self._out, self._queued = self._out, [], 0
        if not out or not self.open or self._transport.is_closing():
            return
        if len(out) == 1:
            self._transport.write(out[0])
        elif self._large:
            self._large = False
            self._transport.writelines(out)
        else:
            self._transport.write(b"".join(out))
        if self.paused and not self._stuck_at:
            self.resume_writing()

    def _lend(self, view: memoryview) -> int:
        """Return the block that the bytes were copied to, -1 when they have to go inline."""
        if self.arena is None or not view.nbytes or view.nbytes < self.limits.shared_from_bytes:
            return -1
        return self.arena.put(view)

    def _released(self) -> None:
        """Say that blocks are free again; called from any thread, whenever the last view of one is gone."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._send_released)

    def _send_released(self) -> None:
        if self.window is not None and self.open:
            for block in self.window.over():
                self.send(wire.frame(wire.RELEASE, number=block))

    def _stalled(self, since: float) -> None:
        if self.open and self._stuck_at == since:
            self.abort(f"slow reader: {self.limits.write_bytes:,} bytes waited {self.limits.stall_s:g} s")

    def _tick(self) -> None:
        """Ping after a silence, and end after two. Who is not being read cannot be blamed for its silence."""
        if self._heard or (self._stuck_at and not self.patient):
            self._pinged = False
        elif self._pinged:
            self.abort(f"silent: no answer to a ping for {self.limits.ping_s:g} s")
            return
        else:
            self._pinged = True
            self.send(wire.frame(wire.PING))
        self._heard = False
        self._timer = self.loop.call_later(self.limits.ping_s, self._tick)


def _flat(buffers: Sequence[Buffer]) -> list[memoryview]:
    views = [memoryview(buffer) for buffer in buffers]
    if not all(view.c_contiguous for view in views):
        raise Refused("a buffer is not contiguous; copy it first, with numpy.ascontiguousarray for an array")
    return [view.cast("B") if view.nbytes else memoryview(b"") for view in views]


def _unheard(*_: object) -> None:
    """Drop a frame that nobody waits for."""


def _ignored(_: str) -> None:
    """Be told of an end that is known."""
