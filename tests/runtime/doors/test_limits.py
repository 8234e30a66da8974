"""Who gets a place, who waits, and what a cut thread keeps."""

import asyncio

import pytest

from allotrope import Overloaded
from allotrope.runtime.doors.limits import Slots


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_places_are_handed_on_in_the_order_of_asking() -> None:
    slots, served = Slots("Gate", 1, 8), []

    async def one(name: str) -> None:
        await slots.take()
        served.append(name)

    tasks = [asyncio.create_task(one(name)) for name in "abc"]
    await turns()
    assert served == ["a"]
    slots.give()
    await turns()
    assert served == ["a", "b"]
    slots.give()
    slots.give()
    await asyncio.gather(*tasks)
    assert (served, slots.free) == (["a", "b", "c"], 1)


async def test_too_many_who_wait_are_refused_with_a_time_to_come_back() -> None:
    slots = Slots("Gate", 1, 1)
    await slots.take()
    waiting = asyncio.create_task(slots.take())
    await turns()
    with pytest.raises(Overloaded, match="Gate: 1 calls wait already") as refused:
        await slots.take()
    assert refused.value.retry_after_s == 1.0
    slots.give()
    await waiting


async def test_who_gives_up_waiting_takes_no_place() -> None:
    slots = Slots("Gate", 1, 8)
    await slots.take()
    waiting = asyncio.create_task(slots.take())
    await turns()
    waiting.cancel()
    await turns()
    slots.give()
    assert slots.free == 1
    await slots.take()
    late = asyncio.create_task(slots.take())
    await turns()
    slots.give()  # the place and the cancellation reach the task together: the place goes back
    late.cancel()
    await turns()
    assert late.cancelled()
    assert slots.free == 1


async def test_a_thread_that_was_cut_keeps_its_place_from_those_who_wait() -> None:
    slots = Slots("Gate", 1, 8)
    await slots.take()
    waiting = asyncio.create_task(slots.take())
    await turns()
    slots.free -= 1  # the thread goes on ...
    slots.give()  # ... after its caller has left
    await turns()
    assert not waiting.done()
    slots.give()  # the thread has ended
    await waiting
    assert slots.free == 0
