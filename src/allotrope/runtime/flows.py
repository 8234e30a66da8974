"""Flows: the work that one input sets off, and who must wait for whom so that answers do not depend on timing.

An input's flow delivers one event at a time, in the order of paths. Flows of different inputs run side by side. A
delivery waits while a smaller origin may still publish something that it would read or that its component would
handle, or while a smaller origin is at work on the same component and key. `lanes` answers that; while one flow is in
flight alone, there is nothing to ask. Where what does not fit waits in the log, each consumer has a window of its own.
"""

import asyncio
import sys
from collections import deque
from heapq import heappop, heappush
from typing import Any

from allotrope.kernel.errors import Lost
from allotrope.runtime.lanes import Lane, Lanes
from allotrope.runtime.routes import Delivery


class Flow:
    """One input and what is still to be done for it."""

    __slots__ = (
        "_heap", "_readers", "_waiters", "aside", "at", "flights", "flying", "known", "lane", "lost", "number", "open",
        "origin", "outcome", "over", "owing", "position", "running", "trace", "waiter",
    )  # fmt: skip

    def __init__(self, origin: int) -> None:
        """Start with nothing to do."""
        self.origin = origin
        self.outcome: Any = None  # of a command, once it has ended
        self.over = self.flying = False
        self.lost: BaseException | None = None  # why it will not end in this process
        self.trace: Any = None
        self.flights: Flights | None = None  # that it is one of
        self.known = False  # whether the lanes have its deliveries: from when a later flow asks
        self.lane: Lane[int] | None = None  # where it waits for smaller origins
        self.waiter: asyncio.Future[None] | None = None  # of the task that waits there
        self.number = self.open = self.running = 0  # deliveries: that there were, are to be done, do not wait
        self.aside = False  # whether all of them wait; the last three are kept by `turns` alone
        self.position, self.at = 0, 0  # of its input: where it is in the log, and when it was accepted
        self._heap: list[tuple[str, int, int, Delivery]] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._readers: list[asyncio.Future[None]] | None = None  # who waits to read what it does
        self.owing: dict[int, int] | None = None  # by `turns`: how many may reach what

    def push(self, delivery: Delivery) -> None:
        """Add a delivery; deliveries run in the order of their paths, then of the app's components."""
        self.number += 1
        heappush(self._heap, (delivery.envelope.path, delivery.route.bit, self.number, delivery))
        if self.known and self.flights is not None:
            self.flights.lanes.enter(self.origin, delivery)

    def next(self) -> Delivery | None:
        """Return the delivery to run now; it stays on the list until `advance`."""
        return self._heap[0][3] if self._heap else None

    def left(self) -> list[Delivery]:
        """Return all deliveries that are to be done."""
        return [delivery for *_, delivery in self._heap]

    def advance(self) -> None:
        """Take the first delivery off the list, after its events were pushed, and let go who waited for it."""
        delivery = heappop(self._heap)[3]
        if self.known and self.flights is not None:
            self.flights.lanes.leave(self.origin, delivery)
        if self._readers:
            self._readers = woken(self._readers)

    def reaches(self, need: int) -> bool:
        """Return whether what is left of it may change one of some components and views, given as bits."""
        if self.flights is None:
            return True
        if self.owing is not None:
            return any(mask & need for mask in self.owing)
        return any((one.route.bit | one.route.ahead) & need for one in self.left())

    def owe(self, delivery: Delivery, count: int) -> None:
        """Take note that one more delivery is to be done, or one less."""
        mask, owing = delivery.route.bit | delivery.route.ahead, self.owing
        if owing is None:
            owing = self.owing = {}
        owing[mask] = left = owing.get(mask, 0) + count
        if not left:
            del owing[mask]
        if self._readers:
            self._readers = woken(self._readers)

    async def moved(self) -> None:
        """Return once a delivery more or less is left, or it is over."""
        if self.lost is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers = [*(self._readers or ()), waiter]
            await waiter
        self.check()

    @property
    def waits_for(self) -> "Flow | None":
        """Return the oldest flow that this one waits for."""
        if self.lane is None or self.flights is None:
            return None
        first = self.lane.first()
        return None if first is None else self.flights.flows.get(first)

    def wake(self) -> None:
        """Let those who waited for its outcome or its end look again."""
        if self._readers:
            self._readers = woken(self._readers)
        if self._waiters:
            self._waiters = woken(self._waiters)

    async def _changed(self) -> None:
        if self.lost is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        self.check()

    def check(self) -> None:
        """Raise Lost when nothing more will happen to it here."""
        if self.lost is not None:
            raise Lost(f"stopped while origin {self.origin} was at work: {self.lost}")

    async def replied(self) -> None:
        """Return once the command that began this flow has its outcome."""
        while self.outcome is None and not self.over:
            await self._changed()

    async def ended(self) -> None:
        """Return once nothing is left to do."""
        while not self.over:
            await self._changed()


def woken(waiters: list[asyncio.Future[None]]) -> list[asyncio.Future[None]]:
    """Let everybody in a list go on; return the list of those who still wait."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    return []


class Flights:
    """The flows in flight, in the order of their origins, and how many inputs wait behind them in the log."""

    def __init__(self, window: int) -> None:
        """Hold at most `window` flows."""
        self.window = window
        self.flows: dict[int, Flow] = {}  # a dict keeps the order of insertion, which is that of origins
        self.newest = self.begun = 0  # origins: of the newest input, and of the newest that has a flow
        self.waiting = 0  # inputs that are in the log and have no flow yet
        self.running = self.stuck = (
            0  # by `turns`: deliveries that do not wait; those whose consumers have no place left
        )
        self.ended = 0  # flows
        self.lost: BaseException | None = None  # why nothing more happens here
        self.lanes: Lanes[int] = Lanes(self._resume)
        self._order: deque[Flow] = deque()  # the flows, and some that are over; empty while one is alone
        self._known = 0  # how many of these, from the first on, the lanes know
        self._promised: dict[int, Flow] = {}  # of inputs that somebody waits for
        self._coming = 0  # inputs that have a place here and no origin yet
        self._idle: list[asyncio.Future[None]] = []
        self._room: list[asyncio.Future[None]] = []

    def begin(self, origin: int) -> Flow:
        """Return a new flow; origins must come in rising order."""
        flow = (self._promised.pop(origin, None) if self._promised else None) or Flow(origin)
        flow.flights = self
        if self.flows:
            order = self._order
            if not order:
                order.extend(self.flows.values())
            elif (
                len(order) > 2 * len(self.flows) + 64
            ):  # else those that are over pile up behind one that stays
                order = self._order = deque(self.flows.values())
                self._known = sum(other.known for other in order)
            order.append(flow)
        self.flows[origin] = flow
        self.begun = origin
        if origin > self.newest:
            self.newest = origin
        return flow

    def _learn(self, before: int) -> None:
        """Let the lanes know of all flows of origins before one."""
        order, lanes = self._order, self.lanes
        while self._known < len(order) and (flow := order[self._known]).origin < before:
            self._known += 1
            flow.known = True
            for delivery in flow.left():
                lanes.enter(flow.origin, delivery)

    def flow(self, origin: int) -> Flow | None:
        """Return the flow of an input, also of one that has yet to begin; None when it is over."""
        if self.begun < origin <= self.newest:
            flow = self._promised.setdefault(origin, Flow(origin))
            flow.lost = self.lost
            return flow
        return self.flows.get(origin)

    def end(self, flow: Flow) -> None:
        """Take a finished flow out."""
        self.flows.pop(flow.origin, None)
        self.ended += 1
        if self._order and not self.flows:
            self._order.clear()
            self._known = 0
        flow.over = True
        flow.wake()
        self.changed()

    def changed(self) -> None:
        """Let those look again who wait for room or for the end."""
        if self._room:
            self._room = woken(self._room)
        if self._idle and not self.busy:
            self._idle = woken(self._idle)

    def floor(self) -> int:
        """Return the lowest unfinished origin."""
        if order := self._order:
            while order[0].over:
                order.popleft()
                self._known -= self._known > 0
            return order[0].origin
        for origin in self.flows:
            return origin
        return self.begun + 1

    # -- who waits for whom

    def blocking(self, flow: Flow, delivery: Delivery) -> Lane[int] | None:
        """Return where a delivery must wait for a flow of a smaller origin, or None."""
        if self._known < len(self._order):
            self._learn(flow.origin)
        return self.lanes.blocking(flow.origin, delivery)

    def blocker(self, flow: Flow, delivery: Delivery) -> Flow | None:
        """Return the flow of the smallest origin that a delivery must wait for, or None."""
        lane = self.blocking(flow, delivery)
        first = None if lane is None else lane.first()
        return None if first is None else self.flows[first]

    async def turn(self, flow: Flow, delivery: Delivery) -> None:
        """Return once no older flow can change what a delivery reads or should go before it."""
        while (lane := self.blocking(flow, delivery)) is not None:
            flow.check()
            flow.lane, flow.waiter = lane, asyncio.get_running_loop().create_future()
            heappush(lane.waiting, flow.origin)
            await flow.waiter
        flow.check()

    def _resume(self, origin: int) -> None:
        flow = self.flows.get(origin)
        if flow is not None and flow.waiter is not None:
            woken([flow.waiter])
            flow.waiter = flow.lane = None

    # -- how many

    @property
    def busy(self) -> bool:
        """Return whether an input is on its way or at work."""
        return bool(self.flows or self._coming or self.waiting)

    @property
    def crowded(self) -> bool:
        """Return whether so much is at work that no more should begin, where it is counted by deliveries."""
        return self.running - self.stuck >= self.window

    @property
    def free(self) -> int:
        """Return how many more inputs there is room for; where nothing more happens here, for all."""
        if self.lost is not None:
            return sys.maxsize
        return 0 if self.waiting else max(0, self.window - len(self.flows) - self._coming)

    @property
    def full(self) -> bool:
        """Return whether one more input has to wait."""
        return len(self.flows) + self._coming >= self.window or self.waiting > 0

    def put_off(self, origin: int) -> None:
        """Take note of an input that is in the log, and begins once there is room."""
        self.newest = max(self.newest, origin)
        self.waiting += 1

    def reserve(self) -> None:
        """Keep a place for an input that is on its way into the log."""
        self._coming += 1

    def release(self, count: int) -> None:
        """Give places back: their inputs have become flows, or never will."""
        self._coming -= count
        self.changed()

    async def room(self) -> None:
        """Return once there is a place for an input."""
        while self.full and self.lost is None:
            await self._moved()

    async def calm(self) -> None:
        """Return once so few flows are at work that another may begin."""
        while self.crowded and self.lost is None:
            await self._moved()

    async def _moved(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room.append(waiter)
        await waiter

    def abandon(self, reason: BaseException) -> None:
        """Give all flows up: nothing more will happen to them here. They stay in flight, so the floor stays."""
        self.lost = self.lost or reason
        for flow in (*self.flows.values(), *self._promised.values()):
            flow.lost = self.lost
            flow.wake()
            self._resume(flow.origin)
        self._room, self._idle = woken(self._room), woken(self._idle)

    async def settled(self) -> None:
        """Return once nothing is in flight, or never will land."""
        while self.busy and self.lost is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            await waiter
