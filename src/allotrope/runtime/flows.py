"""Flows: the work that one input sets off, and who must wait for whom so that answers do not depend on timing.

An input's flow delivers one event at a time, in the order of paths. Flows of different inputs run side by side. A
delivery waits while a smaller origin may still publish something that it would read or that its component would
handle, or while a smaller origin is at work on the same component and key. Sets of components are bit masks, so that
the question is a handful of integer operations; when no smaller origin is in flight it is one comparison.
"""

import asyncio
from heapq import heappop, heappush
from typing import Any

import msgspec

from allotrope.kernel.errors import Lost
from allotrope.kernel.operations import Operation
from allotrope.kernel.ports import Envelope


class Delivery(msgspec.Struct, order=False, gc=False):
    """One event, or the arguments of one command, on its way to one operation."""

    operation: Operation
    envelope: Envelope
    value: Any
    key: str
    bit: int  # the component's own bit
    ahead: int  # all that its events may reach, directly or through others
    need: int  # what must be quiet before it may run: the component itself and the views it reads


class Flow:
    """One input and what is still to be done for it."""

    __slots__ = (
        "_count", "_heap", "_waiters", "flying", "future", "lane", "lost", "origin", "outcome", "over", "trace", "waits_for",
    )  # fmt: skip

    def __init__(self, origin: int) -> None:
        """Start with nothing to do."""
        self.origin = origin
        self.future = 0  # what its remaining deliveries may still reach
        self.lane: dict[tuple[int, str], int] = {}  # (component bit, key) -> deliveries there, running ones included
        self.outcome: Any = None  # of a command, once it has ended
        self.over = self.flying = False
        self.lost: BaseException | None = None  # why it will not end in this process
        self.trace: Any = None
        self.waits_for: Flow | None = None
        self._heap: list[tuple[str, int, int, Delivery]] = []
        self._count = 0
        self._waiters: list[asyncio.Future[None]] = []

    def push(self, delivery: Delivery) -> None:
        """Add a delivery; deliveries run in the order of their paths, then of the app's components."""
        self._count += 1
        heappush(self._heap, (delivery.envelope.path, delivery.bit, self._count, delivery))
        place = (delivery.bit, delivery.key)
        self.lane[place] = self.lane.get(place, 0) + 1
        self.future |= delivery.ahead

    def next(self) -> Delivery | None:
        """Return the delivery to run now; it stays on the list until `advance`."""
        return self._heap[0][3] if self._heap else None

    def advance(self) -> None:
        """Take the first delivery off the list, after its events were pushed, and wake who waited for this flow."""
        delivery = heappop(self._heap)[3]
        place = (delivery.bit, delivery.key)
        if self.lane[place] == 1:
            del self.lane[place]
        else:
            self.lane[place] -= 1
        future = 0
        for *_, waiting in self._heap:
            future |= waiting.ahead
        self.future = future
        self.wake()

    def wake(self) -> None:
        """Let those who waited look again."""
        if self._waiters:
            self._waiters = _woken(self._waiters)

    async def changed(self) -> None:
        """Return after this flow has moved on. Raises why, when it never will."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter
        if self.lost is not None:
            raise Lost(f"stopped while origin {self.origin} was at work: {self.lost}")

    async def replied(self) -> None:
        """Return once the command that began this flow has its outcome."""
        while self.outcome is None and not self.over:
            await self.changed()

    async def ended(self) -> None:
        """Return once nothing is left to do."""
        while not self.over:
            await self.changed()


def _woken(waiters: list[asyncio.Future[None]]) -> list[asyncio.Future[None]]:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    return []


class Flights:
    """The flows in flight, in the order of their origins."""

    def __init__(self, window: int) -> None:
        """Hold at most `window` flows; `full` says when."""
        self.window = window
        self.flows: dict[int, Flow] = {}  # a dict keeps the order of insertion, which is that of origins
        self.newest = 0
        self._idle: list[asyncio.Future[None]] = []
        self._room: list[asyncio.Future[None]] = []

    def begin(self, origin: int) -> Flow:
        """Return a new flow; origins must come in rising order."""
        flow = self.flows[origin] = Flow(origin)
        self.newest = origin
        return flow

    def end(self, flow: Flow) -> None:
        """Take a finished flow out."""
        del self.flows[flow.origin]
        flow.over = True
        flow.wake()
        if self._room:
            self._room = _woken(self._room)
        if self._idle and not self.flows:
            self._idle = _woken(self._idle)

    def floor(self) -> int:
        """Return the lowest unfinished origin."""
        for origin in self.flows:
            return origin
        return self.newest + 1

    def blocker(self, flow: Flow, delivery: Delivery) -> Flow | None:
        """Return a flow of a smaller origin that this delivery must wait for, or None. No key stands for all keys."""
        bit, key = delivery.bit, delivery.key
        for origin, other in self.flows.items():
            if origin >= flow.origin:
                return None
            if other.future & delivery.need or (bit, key) in other.lane or (bit, "") in other.lane:
                return other
            if not key and any(own == bit for own, _ in other.lane):
                return other
        return None

    async def room(self) -> None:
        """Return once fewer flows are in flight than the window holds."""
        while len(self.flows) >= self.window:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.append(waiter)
            await waiter

    def abandon(self, reason: BaseException) -> None:
        """Give all flows up: nothing more will happen to them here."""
        flows, self.flows = list(self.flows.values()), {}
        for flow in flows:
            flow.lost = reason
            flow.wake()
        self._room, self._idle = _woken(self._room), _woken(self._idle)

    async def settled(self) -> None:
        """Return once nothing is in flight."""
        while self.flows:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            await waiter
