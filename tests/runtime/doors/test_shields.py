"""What stands between a caller and a callee elsewhere: breakers by the clock, deadlines, repeats, fallbacks."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from allotrope.kernel.calls import Call, current
from allotrope.kernel.errors import Expired, Failed, Lost, Overloaded
from allotrope.planning.topology import Resilience
from allotrope.runtime.doors.shields import Breaker, Shield
from allotrope.runtime.telemetry.meters import Meter


def test_a_breaker_shuts_after_so_many_failures_in_its_window() -> None:
    breaker = Breaker(3, window_s=10.0, open_s=1.0)
    assert [breaker.fail(at) for at in (0.0, 5.0, 10.1)] == [
        False,
        False,
        False,
    ]  # the first was too long ago
    assert breaker.wait(10.2) == 0.0
    assert breaker.fail(11.0)
    assert breaker.shut
    assert breaker.wait(11.5) == pytest.approx(0.5)


def test_one_call_tries_whether_it_is_back() -> None:
    breaker = Breaker(1, window_s=10.0, open_s=1.0)
    assert breaker.fail(0.0)
    assert breaker.wait(1.0) == 0.0
    assert breaker.wait(1.0) > 0.0  # one at a time
    assert breaker.fail(1.1)  # it is not
    assert breaker.wait(1.2) > 0.0
    assert breaker.wait(2.1) == 0.0
    breaker.give_up()  # the one that tried was cut: nobody knows
    assert breaker.wait(2.1) == 0.0
    breaker.succeed()
    assert not breaker.shut
    assert breaker.wait(2.2) == breaker.wait(2.2) == 0.0


@given(some.lists(some.tuples(some.sampled_from(["ask", "fail", "succeed"]), some.floats(0.0, 3.0))))
def test_a_shut_breaker_lets_one_call_through_in_each_time_it_is_shut(steps: list[tuple[str, float]]) -> None:
    breaker, now, passed = Breaker(2, window_s=5.0, open_s=1.0), 0.0, list[float]()
    for step, later in steps:
        now += later
        if step == "ask" and breaker.shut:
            passed += [now] if not breaker.wait(now) else []
            assert len(passed) < 2
        elif step == "fail":
            if breaker.fail(now):
                passed = []
        elif step == "succeed":
            breaker.succeed()
            passed = []


class Callee:
    """A callee that does as it is told, one word a call; then it answers."""

    def __init__(self, *moods: Any) -> None:
        self.moods, self.asked, self.deadlines = list(moods), 0, list[float]()

    async def ask(self, number: int) -> int:
        self.asked += 1
        call = current.get()
        assert call is not None
        self.deadlines.append(call.deadline)
        mood = self.moods.pop(0) if self.moods else None
        if isinstance(mood, BaseException):
            raise mood
        return number * 2


async def instead(number: int) -> int:
    return -number


async def asked(shield: Shield, number: int = 21, deadline_s: float = 60.0) -> int:
    token = current.set(Call("Caller", "run", 1, "", 0, perf_counter() + deadline_s))
    try:
        answer: int = await shield.ask(number)
        return answer
    finally:
        current.reset(token)


def shield(
    callee: Callee, fallback: Callable[[int], Any] | None = None, **wanted: Any
) -> tuple[Shield, Meter]:
    meter = Meter("Callee.ask")
    return Shield("Callee.ask", callee.ask, Resilience(**wanted), meter, fallback), meter


async def test_each_attempt_has_a_deadline_of_its_own() -> None:
    callee = Callee(Lost("away"))
    one, _ = shield(callee, instead, deadline_s=0.5)
    begun = perf_counter()
    assert await asked(one) == 42  # asked again: the path may afford it
    assert [deadline - begun < 1.0 for deadline in callee.deadlines] == [True, True]
    await asked(one, deadline_s=0.1)
    assert callee.deadlines[-1] - perf_counter() < 0.2  # never later than the caller's


@pytest.mark.parametrize("error", [Lost("away"), Overloaded("too much", 1.0), Expired("too late")])
async def test_what_cannot_be_had_is_answered_by_the_fallback(error: Exception) -> None:
    one, meter = shield(Callee(error, error), instead, retries=0.0)
    assert [await asked(one) for _ in range(3)] == [-21, -21, 42]
    assert meter.fallbacks == 2


async def test_an_answer_that_is_an_error_is_an_answer() -> None:
    one, meter = shield(Callee(Failed("Callee", "ask", "no")), instead, breaker=1)
    with pytest.raises(Failed):
        await asked(one)
    assert (meter.fallbacks, meter.shut) == (0, 0)
    assert await asked(one) == 42


async def test_without_a_fallback_it_fails_at_once_while_it_is_shut() -> None:
    callee = Callee(*[Lost("away")] * 2)
    one, meter = shield(callee, breaker=2, open_s=60.0)
    for _ in range(2):
        with pytest.raises(Lost):
            await asked(one)
    with pytest.raises(Overloaded, match=r"Callee.ask has failed 2 times") as refused:
        await asked(one)
    assert 59 < (refused.value.retry_after_s or 0) <= 60
    assert (callee.asked, meter.shut) == (2, 1)


async def test_nothing_is_asked_once_the_caller_has_no_time_left() -> None:
    one, meter = shield(Callee(Lost("away")), instead)
    with pytest.raises(Lost):
        await asked(one, deadline_s=-1.0)
    assert meter.fallbacks == 0


async def test_a_call_that_is_cut_tells_nothing_about_the_callee() -> None:
    one, meter = shield(Callee(asyncio.CancelledError()), breaker=1)
    with pytest.raises(asyncio.CancelledError):
        await asked(one)
    assert meter.shut == 0
    assert await asked(one) == 42
