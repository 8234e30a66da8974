"""Lanes: an index of the flows in flight by what later ones wait for, so that none has to look at all the others.

A lane is one place, one component, or one set of components that events may still reach. It knows the smallest
that has work there, and wakes exactly those who waited for it to go on. Not here: what a flow does (`flows`).
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

from allotrope.runtime.routes import Delivery

Key = tuple[int, str, int, int]  # of one delivery: origin, path, component's bit, number in its flow
K = TypeVar("K", int, Key)  # who has work: a flow by its origin, or one delivery
SPARE = 256  # empty lanes that are kept


class Lane(Generic[K]):
    """Who has work at one place, each with how many deliveries, and those who wait for smaller ones."""

    __slots__ = ("_heap", "there", "waiting")

    def __init__(self) -> None:
        """Start empty."""
        self.there: dict[K, int] = {}
        self.waiting: list[K] = []  # a heap
        self._heap: list[K] = []  # those there, and some who have left

    def enter(self, who: K) -> None:
        """Add a delivery."""
        count = self.there.get(who)
        if count is None:
            self.there[who] = 1
            heappush(self._heap, who)
        else:
            self.there[who] = count + 1

    def leave(self, who: K) -> bool:
        """Take a delivery away; return whether it was the last."""
        count = self.there[who] - 1
        if count:
            self.there[who] = count
            return False
        del self.there[who]
        if (
            len(self._heap) > 2 * len(self.there) + 8
        ):  # else those who have left pile up behind one that stays
            self._heap = list(self.there)
            heapify(self._heap)
        return True

    def first(self) -> K | None:
        """Return the smallest with work here, None when there is nobody."""
        heap, there = self._heap, self.there
        while heap and heap[0] not in there:
            heappop(heap)
        return heap[0] if heap else None

    def released(self) -> list[K]:
        """Return who need not wait here any more, and forget them."""
        found, first = [], self.first()
        while self.waiting and (first is None or self.waiting[0] <= first):
            found.append(heappop(self.waiting))
        return found


class Lanes(Generic[K]):
    """All lanes. One without work is dropped, so that old keys take no memory."""

    def __init__(self, resume: Callable[[K], None]) -> None:
        """Call `resume` with each that has no more to wait for in its lane."""
        self._resume: Callable[[K], None] = resume
        self._places: dict[tuple[int, str], Lane[K]] = {}  # by the component's bit, and key
        self._open = 0  # places that stand for all keys
        self._spare: list[Lane[K]] = []  # empty ones: to make one takes longer than all else
        # By the component's bit, from when somebody first asks for all of its keys.
        self._components: dict[int, Lane[K]] = {}
        self._aheads: dict[int, Lane[K]] = {}  # by the mask of all that events may reach

    def enter(self, who: K, delivery: Delivery) -> None:
        """Add a delivery."""
        route, key = delivery.route, delivery.key
        bit, ahead = route.bit, route.ahead
        lane = self._places.get((bit, key))
        if lane is None:
            lane = self._places[bit, key] = self._spare.pop() if self._spare else Lane()
            self._open += not key
        lane.enter(who)
        if self._components and (lane := self._components.get(bit)) is not None:
            lane.enter(who)
        if ahead:
            lane = self._aheads.get(ahead)
            if lane is None:
                lane = self._aheads[ahead] = Lane()
            lane.enter(who)

    def leave(self, who: K, delivery: Delivery) -> None:
        """Take a delivery away, and wake who has waited for that."""
        route, key = delivery.route, delivery.key
        bit, ahead = route.bit, route.ahead
        lane = self._places[bit, key]
        if lane.leave(who):
            if lane.waiting:
                self._release(lane)
            if not lane.there:
                del self._places[bit, key]
                self._open -= not key
                if len(self._spare) < SPARE:
                    self._spare.append(lane)
        whole = self._components.get(bit) if self._components else None
        if whole is not None and whole.leave(who) and whole.waiting:
            self._release(whole)
        if ahead:
            lane = self._aheads[ahead]
            if lane.leave(who) and lane.waiting:
                self._release(lane)

    def _release(self, lane: Lane[K]) -> None:
        for who in lane.released():
            self._resume(who)

    def blocking(self, who: K, delivery: Delivery) -> Lane[K] | None:
        """Return the lane with the smallest that a delivery must wait for; None when it may run."""
        route, key = delivery.route, delivery.key
        bit, need = route.bit, route.need
        found: Lane[K] | None = None
        smallest = who
        lanes = [lane for ahead, lane in self._aheads.items() if ahead & need and lane.there]
        if not key:  # it stands for all keys
            lanes.append(self._component(bit))
        elif (place := self._places.get((bit, key))) is not None:
            lanes.append(place)
        if self._open and (whole := self._places.get((bit, ""))) is not None:
            lanes.append(whole)
        for lane in lanes:
            if (first := lane.first()) is not None and first < smallest:
                found, smallest = lane, first
        return found

    def _component(self, bit: int) -> Lane[K]:
        """Return the lane of a component with all its keys."""
        lane = self._components.get(bit)
        if lane is None:
            lane = self._components[bit] = Lane()
            for (of, _), place in self._places.items():
                for who, count in place.there.items() if of == bit else ():
                    for _ in range(count):
                        lane.enter(who)
        return lane
