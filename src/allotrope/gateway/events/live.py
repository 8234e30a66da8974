"""Live results: the events of one type as server-sent events, as the log gets them, from any place in it on.

    id: 7120:42/Scorer.score#000     where to go on: position in the log, and the event's own name
    data: {...}                      the event

What was published last is kept for all readers together; who is further behind reads the log, so nobody's slowness
costs memory. Where there is no log, only the last events are there. Source: HTML Living Standard, 9.2.
"""

import asyncio
import contextlib
import secrets
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncGenerator
from itertools import islice
from typing import Any

import msgspec

from allotrope.gateway.link import Link, Visit
from allotrope.gateway.problems import Problem
from allotrope.gateway.streams import Frame
from allotrope.gateway.values import to_json
from allotrope.kernel.errors import Refused
from allotrope.runtime.flows import woken
from allotrope.storage.ports import Envelope

PAGE = 200  # entries that are read at once
KEPT = 1024  # newest ones, for all readers together
POLL_S = 0.1  # between two looks at the log
IDLE = 50  # looks without a reader, before there are no more
AGAIN_MS = 1000  # after which a client that was cut off comes back


class Seen(msgspec.Struct, frozen=True, gc=False):
    """One entry of the log; with its value where there is none that could be read again."""

    position: int
    envelope: Envelope
    value: Any = None


class Wanted(msgspec.Struct, frozen=True):
    """What one reader wants to see; of its own tenant, in any case. No key stands for all."""

    kind: str
    tenant: str
    key: str | None = None

    def fits(self, envelope: Envelope) -> bool:
        """Return whether it wants an event."""
        return (
            envelope.kind == self.kind
            and envelope.tenant == self.tenant
            and (self.key is None or envelope.key == self.key)
        )


class Live:
    """The readers of one gateway."""

    def __init__(self, link: Link, most: int, quiet_s: float) -> None:
        """Serve `most` of them at once, and send each something every `quiet_s`."""
        self.link, self.most, self.quiet_s = link, most, quiet_s
        self.readers = 0
        self._kept = deque[Seen](maxlen=KEPT)
        self._next = 1  # position of what comes next
        self._mark = "" if link.durable else secrets.token_hex(4)  # without a log ids die with the process
        self._waiting: list[asyncio.Future[None]] = []
        self._tail: asyncio.Task[None] | None = None
        self._watching = False

    async def opened(self, kind: str, key: str | None, visit: Visit) -> AsyncGenerator[Frame, None]:
        """Return what one reader gets, from behind its last event on, else from now on. Problem when it cannot."""
        if self.readers >= self.most:
            raise Problem(503, "overloaded", f"{self.most} readers are there, and that is the most", 5.0)
        position = await self._begin(visit.last)
        return self._frames(Wanted(kind, visit.tenant, key), position)

    def close(self) -> None:
        """Look at the log no more; what is open is ended by who sends it."""
        if self._tail is not None:
            self._tail.cancel()

    async def _begin(self, last: str) -> int:
        if self.link.durable and self._tail is None:
            end = await self.link.end()
            if self._tail is None:  # somebody else may have come meanwhile
                self._next = end
                self._kept.clear()
                self._tail = asyncio.get_running_loop().create_task(self._follow())
        if not self.link.durable and not self._watching:
            self.link.watch(self._add)
            self._watching = True  # from now on: who is cut off comes back for what it has missed
        if not last:
            return self._next
        place, _, _ = last.partition(":")
        number, _, mark = place.partition(".")
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise Problem(400, "header", "Last-Event-ID is the id of an event that came from here")
        position = int(number) + 1
        oldest = self._kept[0].position if self._kept else self._next
        if not self.link.durable and (mark != self._mark or position < oldest):
            raise Problem(
                410, "gone", "what came after this event is no longer kept; begin without Last-Event-ID"
            )
        return min(position, self._next)

    async def _frames(self, wanted: Wanted, position: int) -> AsyncGenerator[Frame, None]:
        self.readers += 1
        try:
            yield Frame(b"retry: %d\nid: %b\n\n" % (AGAIN_MS, self._id(position - 1)))
            while True:
                if position >= self._next:
                    if not await self._news():
                        yield Frame(b": \nid: %b\n\n" % self._id(position - 1))
                    continue
                page, sent = await self._page(position), False
                if not page:
                    position = self._next  # what was there has been removed
                for seen in page:
                    position = seen.position + 1
                    if wanted.fits(seen.envelope) and (data := self._data(seen)) is not None:
                        name = self._id(seen.position, seen.envelope.name)
                        yield Frame(b"id: %b\ndata: %b\n\n" % (name, data))
                        sent = True
                if not sent and len(page) == PAGE:  # it looks through much that is not for it
                    yield Frame(b": \nid: %b\n\n" % self._id(position - 1))
        finally:
            self.readers -= 1

    async def _page(self, position: int) -> list[Seen]:
        kept = self._kept
        if kept and kept[0].position <= position:
            start = bisect_left(kept, position, key=lambda seen: seen.position)
            return list(islice(kept, start, start + PAGE))
        if not self.link.durable:
            raise Problem(503, "slow", "events came faster than they were read; begin anew", 1.0)
        return [Seen(entry.position, entry.envelope) for entry in await self.link.entries(position, PAGE)]

    def _data(self, seen: Seen) -> bytes | None:
        try:
            return to_json(self.link.value(seen.envelope) if seen.value is None else seen.value)
        except (msgspec.ValidationError, Refused):  # of a version that this one cannot read, or erased
            return None

    def _id(self, position: int, name: str = "") -> bytes:
        return f"{position}{self._mark and '.'}{self._mark}:{name}".encode()

    # -- what comes

    async def _news(self) -> bool:
        """Return whether something has come before it was quiet for too long."""
        if self.link.durable and self._tail is None:
            raise Problem(503, "overloaded", "the log cannot be read now; come back later", 1.0)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.quiet_s):
                await waiter
                return True
        return False

    async def _follow(self) -> None:
        idle = 0
        try:
            while idle < IDLE:
                if entries := await self.link.entries(self._next, PAGE):
                    self._kept.extend(Seen(entry.position, entry.envelope) for entry in entries)
                    self._next = entries[-1].position + 1
                    self._waiting = woken(self._waiting)
                else:
                    idle = 0 if self.readers else idle + 1
                    await asyncio.sleep(POLL_S)
        finally:
            self._tail = None
            self._waiting = woken(self._waiting)

    def _add(self, envelope: Envelope, value: Any) -> None:
        self._kept.append(Seen(self._next, envelope, value))
        self._next += 1
        if self._waiting:
            self._waiting = woken(self._waiting)
