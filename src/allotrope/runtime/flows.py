"""Flows: the work that one input sets off, and who must wait for whom so that answers do not depend on timing.

An input's flow delivers one event at a time, in the order of paths. Flows of different inputs run side by side. A
delivery waits while a smaller origin may still publish something that it would read or that its component would
handle, or while a smaller origin is at work on the same component and key. Sets of components are bit masks, so that
the question is a handful of integer operations; when no smaller origin is in flight it is one comparison.
"""

import asyncio
from heapq import heappop, heappush
from typing import Any

from allotrope.kernel.errors import Lost
from allotrope.runtime.routes import Delivery


class Flow:
    """One input and what is still to be done for it."""

    __slots__ = (
        "_ahead", "_count", "_heap", "_lane", "_waiters", "flying", "lost", "origin", "outcome", "over", "trace",
        "waits_for",
    )  # fmt: skip

    def __init__(self, origin: int) -> None:
        """Start with nothing to do."""
        self.origin = origin
        self.outcome: Any = None  # of a command, once it has ended
        self.over = self.flying = False
        self.lost: BaseException | None = None  # why it will not end in this process
        self.trace: Any = None
        self.waits_for: Flow | None = None
        self._heap: list[tuple[str, int, int, Delivery]] = []
        self._count = 0
        self._waiters: list[asyncio.Future[None]] = []
        # How many deliveries there are of each (component bit, key), and of each mask of what they may reach; the
        # running one included. Counted only from when a later flow asks for the first time: most are never asked.
        self._lane: dict[tuple[int, str], int] | None = None
        self._ahead: dict[int, int] = {}

    def push(self, delivery: Delivery) -> None:
        """Add a delivery; deliveries run in the order of their paths, then of the app's components."""
        self._count += 1
        heappush(self._heap, (delivery.envelope.path, delivery.route.bit, self._count, delivery))
        if self._lane is not None:
            self._tally(self._lane, delivery, 1)

    def next(self) -> Delivery | None:
        """Return the delivery to run now; it stays on the list until `advance`."""
        return self._heap[0][3] if self._heap else None

    def advance(self) -> None:
        """Take the first delivery off the list, after its events were pushed, and wake who waited for this flow."""
        delivery = heappop(self._heap)[3]
        if self._lane is not None:
            self._tally(self._lane, delivery, -1)
        if self._waiters:
            self.wake()

    def _tally(self, lane: dict[tuple[int, str], int], delivery: Delivery, by: int) -> None:
        route, place = delivery.route, (delivery.route.bit, delivery.key)
        lane[place] = lane.get(place, 0) + by
        self._ahead[route.ahead] = self._ahead.get(route.ahead, 0) + by
        if not lane[place]:
            del lane[place]
        if not self._ahead[route.ahead]:
            del self._ahead[route.ahead]

    def holds(self, delivery: Delivery) -> bool:
        """Return whether a delivery of a larger origin must wait for this flow."""
        if (lane := self._lane) is None:
            lane = self._lane = {}
            for *_, waiting in self._heap:
                self._tally(lane, waiting, 1)
        route, key = delivery.route, delivery.key
        if any(ahead & route.need for ahead in self._ahead):
            return True
        if not key:
            return any(bit == route.bit for bit, _ in lane)
        return (route.bit, key) in lane or (route.bit, "") in lane

    def wake(self) -> None:
        """Let those who waited look again."""
        if self._waiters:
            self._waiters = woken(self._waiters)

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


def woken(waiters: list[asyncio.Future[None]]) -> list[asyncio.Future[None]]:
    """Let everybody in a list go on; return the list of those who still wait."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    return []


class Flights:
    """The flows in flight, in the order of their origins."""

    def __init__(self, window: int) -> None:
        """Hold at most `window` flows."""
        self.window = window
        self.flows: dict[int, Flow] = {}  # a dict keeps the order of insertion, which is that of origins
        self.newest = 0
        self.lost: BaseException | None = None  # why nothing more happens here
        self._coming = 0  # inputs that have a place here and no origin yet
        self._idle: list[asyncio.Future[None]] = []
        self._room: list[asyncio.Future[None]] = []

    def begin(self, origin: int) -> Flow:
        """Return a new flow; origins must come in rising order."""
        flow = self.flows[origin] = Flow(origin)
        self.newest = origin
        return flow

    def end(self, flow: Flow) -> None:
        """Take a finished flow out."""
        self.flows.pop(flow.origin, None)
        flow.over = True
        flow.wake()
        if self._room:
            self._room = woken(self._room)
        if self._idle and not self.busy:
            self._idle = woken(self._idle)

    def floor(self) -> int:
        """Return the lowest unfinished origin."""
        for origin in self.flows:
            return origin
        return self.newest + 1

    def blocker(self, flow: Flow, delivery: Delivery) -> Flow | None:
        """Return a flow of a smaller origin that this delivery must wait for, or None."""
        for origin, other in self.flows.items():
            if origin >= flow.origin:
                return None
            if other.holds(delivery):
                return other
        return None

    @property
    def busy(self) -> bool:
        """Return whether an input is on its way or at work."""
        return bool(self.flows or self._coming)

    @property
    def full(self) -> bool:
        """Return whether one more input has to wait."""
        return len(self.flows) + self._coming >= self.window

    def reserve(self) -> None:
        """Keep a place for an input that is on its way into the log."""
        self._coming += 1

    def release(self, count: int) -> None:
        """Give places back: their inputs have become flows, or never will."""
        self._coming -= count
        if self._room:
            self._room = woken(self._room)
        if self._idle and not self.busy:
            self._idle = woken(self._idle)

    async def room(self) -> None:
        """Return once there is a place."""
        while self.full and self.lost is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.append(waiter)
            await waiter

    def abandon(self, reason: BaseException) -> None:
        """Give all flows up: nothing more will happen to them here. They stay in flight, so the floor stays."""
        self.lost = self.lost or reason
        for flow in self.flows.values():
            flow.lost = self.lost
            flow.wake()
        self._room, self._idle = woken(self._room), woken(self._idle)

    async def settled(self) -> None:
        """Return once nothing is in flight, or never will land."""
        while self.busy and self.lost is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            await waiter
