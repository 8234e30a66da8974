"""Turns: the deliveries of all flows, each waiting for what it must wait for and for nothing else, and without a task.

Under a topology that lets inputs wait in the log, deliveries of one input run side by side as well, and each consumer
has a window of its own; so one that is slow or away holds up nobody else. The order that counts is that of origins,
then of paths, then of the app's components, as if everything ran one after the other. Not here: running one (`host`).
"""

from collections.abc import Callable
from heapq import heappop, heappush

from allotrope.runtime.flows import Flights, Flow
from allotrope.runtime.lanes import Key, Lanes
from allotrope.runtime.routes import Delivery


class Turn:
    """One delivery that is to be done."""

    __slots__ = ("away", "delivery", "flow", "kept", "key", "placed")

    def __init__(self, key: Key, flow: Flow, delivery: Delivery) -> None:
        """Let it be of a flow, at its place in the order."""
        self.key, self.flow, self.delivery = key, flow, delivery
        self.placed = False  # whether it has a place in its consumer's window
        self.away = False  # whether its event is in the log only
        self.kept = False  # whether it is one of the window of those that wait with their events


class Consumer:
    """A component's own window: how many deliveries it has at work, and who waits for a place."""

    __slots__ = ("at_work", "waiting")

    def __init__(self) -> None:
        """Start with none."""
        self.at_work = 0
        self.waiting: list[Key] = []  # a heap


class Turns:
    """All deliveries of one host."""

    def __init__(self, flights: Flights, run: Callable[[Turn], None]) -> None:
        """Call `run` for each that may have its turn: it asks `hold`, and does nothing now if it has to wait."""
        self.flights, self._run = flights, run
        self.turns: dict[Key, Turn] = {}
        self.aside = 0  # flows of which everything waits
        self._lanes: Lanes[Key] = Lanes(self._resume)
        self._consumers: dict[int, Consumer] = {}  # by the component's bit
        self._fresh: list[Turn] = []  # added, not started

    def start(self) -> None:
        """Let those have their turn that were added: everything that is older has to be known by now."""
        fresh, self._fresh = self._fresh, []
        for turn in fresh:
            self._run(turn)

    def add(self, flow: Flow, delivery: Delivery) -> Turn:
        """Return the turn of one more delivery of a flow, which begins to count now and runs from `start` on."""
        flow.number += 1
        key = (flow.origin, delivery.envelope.path, delivery.route.bit, flow.number)
        turn = self.turns[key] = Turn(key, flow, delivery)
        flow.open += 1
        flow.owe(delivery, 1)
        self._lanes.enter(key, delivery)
        self._fresh.append(turn)
        self._stir(flow)
        return turn

    def _stir(self, flow: Flow) -> None:
        if flow.aside:
            flow.aside = False
            self.aside -= 1
        flow.running += 1
        self.flights.running += 1

    def _go(self, turn: Turn) -> None:
        self._stir(turn.flow)
        if self.flights.lost is None:
            self._run(turn)

    def hold(self, turn: Turn) -> bool:
        """Return whether a delivery has to wait; then it is run again once it need not.

        It waits for older ones first, then for a place in its consumer's window: who has one waits for nobody here.
        """
        if turn.placed:
            return False
        if (lane := self._lanes.blocking(turn.key, turn.delivery)) is not None:
            heappush(lane.waiting, turn.key)
        else:
            flights, consumer = self.flights, self._consumers.setdefault(turn.delivery.route.bit, Consumer())
            if consumer.at_work < flights.window:
                consumer.at_work += 1
                flights.stuck += flights.window if consumer.at_work == flights.window else 0
                turn.placed = True
                return False
            heappush(consumer.waiting, turn.key)
        self._rest(turn.flow)
        return True

    def _rest(self, flow: Flow) -> None:
        flow.running -= 1
        self.flights.running -= 1
        if not flow.running and flow.open:
            flow.aside = True
            self.aside += 1
        self.flights.changed()

    def done(self, turn: Turn) -> bool:
        """Take a delivery away, after its events were added, and let go who waited; return whether its flow is over."""
        del self.turns[turn.key]
        turn.flow.open -= 1
        turn.flow.owe(turn.delivery, -1)
        if turn.placed:
            self._vacate(self._consumers[turn.delivery.route.bit])
        self._lanes.leave(turn.key, turn.delivery)
        self._rest(turn.flow)
        return not turn.flow.open

    def _vacate(self, consumer: Consumer) -> None:
        if consumer.waiting:  # the place goes to the oldest of them
            heir = self.turns[heappop(consumer.waiting)]
            heir.placed = True
            self._go(heir)
            return
        flights = self.flights
        flights.stuck -= flights.window if consumer.at_work == flights.window else 0
        consumer.at_work -= 1

    def _resume(self, key: Key) -> None:
        self._go(self.turns[key])

    def blocker(self, turn: Turn) -> Turn | None:
        """Return the oldest delivery that one must wait for, or None."""
        lane = self._lanes.blocking(turn.key, turn.delivery)
        first = None if lane is None else lane.first()
        return None if first is None else self.turns[first]
