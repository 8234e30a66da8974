"""Who waits for whom among the flows in flight: as a plain walk over all of them says, at a price that stays flat."""

import sys
from collections import Counter
from random import Random
from types import FrameType
from typing import Any

import pytest

from allotrope.runtime.flows import Flights, Flow
from allotrope.runtime.intake.turns import Turn, Turns
from allotrope.runtime.routes import Delivery, Route
from allotrope.storage.ports import Envelope

BITS = 5


def route(bit: int, ahead: int, need: int = 0) -> Route:
    operation: Any = None
    return Route(operation, f"C{bit}.on", f"C{bit}", (), 1 << bit, ahead, need | 1 << bit)


def delivery(way: Route, origin: int, path: str, key: str) -> Delivery:
    return Delivery(way, Envelope("E", key, b"", 0, origin, path), None, key)


def holds(earlier: Delivery, later: Delivery) -> bool:
    """The rule: it may still reach what the later one needs, or is at the same place; no key stands for all."""
    if earlier.route.ahead & later.route.need:
        return True
    same = earlier.key == later.key or not earlier.key or not later.key
    return earlier.route.bit == later.route.bit and same


def walked(flights: Flights, flow: Flow, later: Delivery) -> Flow | None:
    for origin, other in flights.flows.items():
        if origin >= flow.origin:
            return None
        if any(holds(earlier, later) for earlier in other.left()):
            return other
    return None


@pytest.mark.parametrize("seed", range(20))
def test_the_index_says_what_a_walk_over_all_flows_says(seed: int) -> None:
    random, flights, origin = Random(seed), Flights(10_000), 0
    ways = [route(bit, random.getrandbits(BITS), random.getrandbits(BITS)) for bit in range(BITS)]
    ways += [route(bit, 0) for bit in range(BITS)]
    asked = waited = 0
    for step in range(600):
        chosen = random.choice(list(flights.flows.values())) if flights.flows else None
        if chosen is None or random.random() < 0.3:
            origin += random.randint(1, 3)
            chosen = flights.begin(origin)
            for _ in range(random.randint(1, 3)):
                chosen.push(
                    delivery(
                        random.choice(ways), origin, f"/{step}", random.choice("abc") * random.randint(0, 1)
                    )
                )
        elif random.random() < 0.8 or step > 500:
            if random.random() < 0.3 and step < 500:
                chosen.push(delivery(random.choice(ways), chosen.origin, f"/{step}", random.choice("ab")))
            chosen.advance()
            if chosen.next() is None:
                flights.end(chosen)
        assert flights.floor() == min(flights.flows, default=origin + 1)
        for flow in flights.flows.values():
            if (head := flow.next()) is not None:
                expected = walked(flights, flow, head)
                assert flights.blocker(flow, head) is expected
                asked, waited = asked + 1, waited + (expected is not None)
    assert asked > 500
    assert 0 < waited < asked


def lines_run(work: Any) -> int:
    """Return how many lines of our code a piece of work runs: what it does, whatever the machine."""
    count = 0

    def traced(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return traced

    sys.settrace(traced)
    try:
        work()
    finally:
        sys.settrace(None)
    return count


def price(stuck: int, keys: int) -> int:
    """Return what 100 quick flows take while others wait for one consumer, under so many keys."""
    flights, slow, quick = Flights(100_000), route(0, 0), route(1, 1 << 2)
    for origin in range(1, stuck + 1):
        flow = flights.begin(origin)
        flow.push(delivery(slow, origin, "", f"k{origin % keys}"))

    def passes(first: int) -> None:
        for origin in range(first, first + 100):
            flow = flights.begin(origin)
            flow.push(delivery(quick, origin, "", f"q{origin}"))
            head = flow.next()
            assert head is not None
            assert flights.blocker(flow, head) is None
            flow.advance()
            flights.end(flow)
            assert flights.floor() == 1

    passes(stuck + 1)
    return lines_run(lambda: passes(stuck + 101))


@pytest.mark.parametrize("keys", [1, 1_000_000])
def test_many_who_are_held_up_cost_the_others_nothing(keys: int) -> None:
    assert price(20_000, keys) <= 1.1 * price(20, keys)


def test_a_long_line_moves_on_at_a_flat_price_for_each() -> None:
    def taken(length: int) -> int:
        going: list[Turn] = []
        flights, way = Flights(100_000), route(0, 0)
        turns = Turns(flights, going.append)
        for origin in range(1, length + 1):
            turn = turns.add(flights.begin(origin), delivery(way, origin, "", "same"))
            assert turns.hold(turn) == (origin > 1)

        def drained() -> None:
            for turn in list(turns.turns.values()):
                assert not turns.hold(turn)
                assert turns.done(turn)
                flights.end(turn.flow)

        count = lines_run(drained)
        assert [turn.key[0] for turn in going] == list(range(2, length + 1))  # each was told once, in order
        return count // length

    assert taken(5_000) <= 1.1 * taken(50)


@pytest.mark.parametrize("seed", range(20))
def test_each_delivery_waits_for_all_before_it_that_may_touch_what_it_needs(seed: int) -> None:
    """Also for those of its own input; and whoever has to wait is told to go on as soon as it need not, once."""
    random, origin, runnable = Random(seed), 0, set[Any]()
    flights = Flights(3)
    turns = Turns(flights, lambda turn: runnable.add(turn))
    ways = [route(bit, random.getrandbits(BITS), random.getrandbits(BITS)) for bit in range(BITS)]
    at_work: list[Turn] = []
    begun = waited = 0
    while begun < 200 or turns.turns:
        if begun < 200 and random.random() < 0.4:
            origin, begun = origin + 1, begun + 1
            flow = flights.begin(origin)
            for _ in range(random.randint(1, 3)):
                turns.add(
                    flow,
                    delivery(random.choice(ways), origin, "", random.choice("ab") * random.randint(0, 1)),
                )
            turns.start()
        while runnable:
            turn = runnable.pop()
            earlier = [other for key, other in turns.turns.items() if key < turn.key]
            due = [other for other in earlier if holds(other.delivery, turn.delivery)]
            assert turns.blocker(turn) is min(due, key=lambda other: other.key, default=None)
            before = sum(one.delivery.route.bit == turn.delivery.route.bit for one in at_work)
            if turns.hold(turn):
                assert due or before == flights.window
                waited += 1
            else:
                assert not due
                assert before < flights.window
                at_work.append(turn)
        assert flights.crowded == (len(at_work) - stuck(at_work, flights.window) >= flights.window)
        if at_work:
            turn = at_work.pop(random.randrange(len(at_work)))
            bits = [way for way in ways if way.bit & turn.delivery.route.ahead]
            if bits and len(turn.key[1]) < 4 and random.random() < 0.5:  # it publishes
                way = route(random.choice(bits).bit.bit_length() - 1, 0)
                turns.add(
                    turn.flow, delivery(way, turn.key[0], turn.key[1] + random.choice("/0 /1").strip(), "a")
                )
            if turns.done(turn):
                flights.end(turn.flow)
            turns.start()
    assert waited > 20
    assert not flights.flows
    assert (flights.running, flights.stuck, turns.aside) == (0, 0, 0)


def stuck(at_work: list[Turn], window: int) -> int:
    """How many are at work with consumers that have no place left."""
    amounts = Counter(turn.delivery.route.bit for turn in at_work)
    return sum(amount for amount in amounts.values() if amount == window)
