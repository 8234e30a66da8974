"""Frames as bytes, and bytes as frames. Pure: it opens nothing, waits for nothing, and knows no component.

A frame is a header of 20 bytes and a body. The header, little-endian: length of the body (4), kind (1), number of
raw buffers (1), method or code (2), milliseconds left or bytes granted (4), id (8). The body: for each buffer its
size (4) and place (4), 0 for inline, else 1 + its first block in shared memory; the inline buffers, each padded to 8
bytes, so that numbers lie where a processor wants them; then the payload. A payload in shared memory comes as a last
buffer whose place has its highest bit set. Whatever does not fit this is Malformed, before memory is taken for it.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from allotrope.kernel.errors import Refused
from allotrope.transports.frames.limits import Limits

VERSION = 1
HEADER = struct.Struct("<IBBHIQ")
PART = struct.Struct("<II")
SIZE = HEADER.size
LARGE = 32 << 10  # a longer body gets memory of its own, and is not copied again
ROOM = 64 << 10  # of the buffer that all other bodies are read into
MAX_MS = (1 << 32) - 1
PAYLOAD = 1 << 31  # of a place: it is the payload's

HELLO, CALL, REPLY, ERROR, CANCEL, OPEN, ITEM, END, CREDIT, PING, PONG, GOAWAY, RELEASE = range(1, 14)
KINDS = RELEASE
CARRIES = frozenset((CALL, REPLY, OPEN, ITEM))  # kinds that may have buffers

Buffers = tuple[memoryview, ...]
Receive = Callable[[int, int, int, int, bytes, Buffers], None]


class Malformed(Refused):
    """Bytes that are no frame, or a frame out of bounds. The link they came by is closed."""


class Lender(Protocol):
    """Where buffers in shared memory are found."""

    def view(self, block: int, size: int) -> memoryview:
        """Return the bytes that begin at `block`; Malformed when there are none."""


def frame(kind: int, method: int = 0, ms: int = 0, number: int = 0, payload: bytes = b"") -> bytes:
    """Return a frame without buffers."""
    return HEADER.pack(len(payload), kind, 0, method, ms, number) + payload


def laden(
    head: tuple[int, int, int, int], payload: bytes, buffers: Sequence[memoryview], blocks: Sequence[int]
) -> list[bytes | memoryview]:
    """Return a frame with buffers, in pieces to be written one after the other; no buffer is copied.

    `head` is kind, method, milliseconds and id. `blocks` holds for each buffer its block in shared memory, or -1; one
    block more than there are buffers is that of the payload.
    """
    kind, method, ms, number = head
    parts, inline = [], list[bytes | memoryview]()
    for buffer, block in zip(buffers, blocks, strict=False):
        size = buffer.nbytes
        parts.append(PART.pack(size, block + 1))
        if block < 0 and size:
            inline += (buffer, bytes(-size % 8)) if size % 8 else (buffer,)
    if len(blocks) > len(buffers):
        parts.append(PART.pack(len(payload), (blocks[-1] + 1) | PAYLOAD))
        payload = b""
    length = 8 * len(parts) + len(payload) + sum(map(len, inline))
    header = HEADER.pack(length, kind, len(parts), method, ms, number)
    return [header + b"".join(parts), *inline, payload]


def length(payload: bytes, buffers: Sequence[memoryview]) -> int:
    """Return the most bytes that the body of a frame can take: all buffers inline."""
    return len(payload) + sum(16 + buffer.nbytes for buffer in buffers)


class Decoder:
    """Cuts what arrives into frames. It holds one buffer of `ROOM` bytes, and one body longer than `LARGE`.

    Feed it as asyncio's BufferedProtocol is fed: `room`, then `feed` with the number of bytes put there.
    """

    __slots__ = ("_buffer", "_end", "_filled", "_head", "_large", "_limits", "_receive", "_view", "lender")

    def __init__(self, limits: Limits, receive: Receive, lender: Lender | None = None) -> None:
        """Call `receive(kind, method, milliseconds, id, payload, buffers)` for each frame."""
        self._buffer = bytearray(ROOM)
        self._view = memoryview(self._buffer)
        self._end = 0  # of what `_buffer` holds
        self._large: memoryview | None = None
        self._filled = 0
        self._head = (0, 0, 0, 0, 0, 0)
        self._limits, self._receive, self.lender = limits, receive, lender

    def room(self) -> memoryview:
        """Return where the next bytes go; it is never empty."""
        return self._view[self._end :] if self._large is None else self._large[self._filled :]

    def feed(self, count: int) -> None:
        """Take `count` bytes that were written to `room()`. Malformed when they cannot be a frame."""
        if self._large is not None:
            self._filled += count
            if self._filled == len(self._large):
                body, self._large = self._large, None
                self._laden(self._head, body, own=True)
            return
        end, at, view = self._end + count, 0, self._view
        unpack, receive, most = HEADER.unpack_from, self._receive, self._limits.frame_bytes
        while end - at >= SIZE:
            head = unpack(self._buffer, at)
            length, kind, parts, method, ms, number = head
            if length > most or not 0 < kind <= KINDS or parts:
                self._check(head)
            start = at + SIZE
            stop = start + length
            if length > LARGE:
                got = end - start if end < stop else length
                large = memoryview(bytearray(length))
                large[:got] = view[start : start + got]
                if end < stop:
                    self._large, self._filled, self._head, self._end = large, got, head, 0
                    return
                self._laden(head, large, own=True)
            elif stop > end:
                break
            elif parts:
                self._laden(head, view[start:stop], own=False)
            else:
                receive(kind, method, ms, number, bytes(view[start:stop]), ())
            at = stop
        if at and end > at:
            self._buffer[: end - at] = self._buffer[at:end]
        self._end = end - at

    def _check(self, head: tuple[int, ...]) -> None:
        length, kind, count = head[:3]
        if not 0 < kind <= KINDS:
            raise Malformed(f"frame of unknown kind {kind}; the other side does not speak this protocol")
        if length > self._limits.frame_bytes:
            raise Malformed(
                f"frame of {length:,} bytes, limit {self._limits.frame_bytes:,}; "
                "send less at once, or raise frame_bytes"
            )
        if count > self._limits.buffers + 1:
            raise Malformed(f"frame of {count} buffers, limit {self._limits.buffers}; send fewer")
        if kind not in CARRIES or length < 8 * count:
            raise Malformed(f"frame of kind {kind} and {length} bytes cannot hold {count} buffers")

    def _laden(self, head: tuple[int, int, int, int, int, int], body: memoryview, *, own: bool) -> None:
        """Pass on a frame whose body has its own memory, or has buffers; what is not its own is copied."""
        _, kind, count, method, ms, number = head
        at, buffers, shared = 8 * count, [], b""
        for part in range(count):
            size, block = PART.unpack_from(body, 8 * part)
            if block:
                if self.lender is None:
                    raise Malformed("a buffer in shared memory, though none was agreed on")
                view = self.lender.view((block & ~PAYLOAD) - 1, size)
                if not block & PAYLOAD:
                    buffers.append(view)
                elif size <= self._limits.frame_bytes and part == count - 1:
                    shared = bytes(view)
                else:
                    raise Malformed(
                        f"payload of {size:,} bytes in shared memory, limit {self._limits.frame_bytes:,}"
                    )
                continue
            stop = at + size
            if stop + -size % 8 > len(body):
                raise Malformed(f"buffer of {size:,} bytes in a body of {len(body):,}")
            piece = body[at:stop]
            buffers.append((piece if own else memoryview(bytes(piece))).toreadonly())
            at = stop + -size % 8
        self._receive(kind, method, ms, number, shared or bytes(body[at:]), tuple(buffers))
