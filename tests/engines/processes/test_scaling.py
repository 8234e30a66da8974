"""How many replicas there should be: the decision by itself, and a fleet that follows it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from allotrope.cli.fleet.scale import scale
from allotrope.engines.processes.scaling import HIGH, HIGH_S, LOOK_S, LOW, LOW_S, Trend, decided
from allotrope.kernel.errors import Refused
from tests.engines.processes.kiosk import Prices
from tests.engines.processes.shift import SPLIT, shift


def counts(loads: list[float], count: int = 1, bounds: tuple[int, int] = (1, 8)) -> list[int]:
    """The replicas after each look, one every half second."""
    trend, found = Trend(), []
    for number, load in enumerate(loads):
        trend, count = decided(trend, number * LOOK_S, load, count, bounds)
        found.append(count)
    return found


@pytest.mark.parametrize(
    ("loads", "ends_at"),
    [
        ([0.8] * 4, 1),  # not yet
        ([0.8] * 5, 2),
        ([0.8, 0.8, 0.8, 0.7, 0.8, 0.8, 0.8], 1),  # it was better in between
        ([1.0] * 5, 2),
        ([9.0] * 5, 2),  # at most twice as many
        ([9.0] * 10, 4),
        ([9.0] * 40, 8),  # and never more than may be
        ([0.5] * 100, 1),
    ],
)
def test_it_goes_up_when_it_was_busy_for_a_while(loads: list[float], ends_at: int) -> None:
    assert counts(loads)[-1] == ends_at


@pytest.mark.parametrize(
    ("loads", "ends_at"),
    [
        ([0.1] * 30, 4),
        ([0.1] * 31, 3),  # one at a time
        ([0.1] * 62, 2),
        ([0.1] * 400, 2),  # and never fewer than must be
        ([*[0.1] * 30, 0.4, *[0.1] * 30], 4),
    ],
)
def test_it_goes_down_late_and_slowly(loads: list[float], ends_at: int) -> None:
    assert counts(loads, 4, (2, 8))[-1] == ends_at


@given(some.floats(0.0, 20.0), some.integers(1, 8))
def test_a_steady_demand_never_makes_it_swing(demand: float, start: int) -> None:
    """Work that neither grows nor shrinks is spread over those that are there; after a while their number stays."""
    trend, count, seen = Trend(), start, []
    for number in range(1000):
        trend, count = decided(trend, number * LOOK_S, demand / count, count, (1, 32))
        seen.append(count)
    assert len(set(seen[-int(2 * LOW_S / LOOK_S) :])) == 1
    assert count == 1 or demand / count <= HIGH or count == 32
    assert count == 1 or demand / count >= LOW
    assert HIGH_S < LOW_S


@given(some.lists(some.floats(0.0, 50.0), max_size=60), some.integers(1, 4), some.integers(4, 9))
def test_the_bounds_hold(loads: list[float], least: int, most: int) -> None:
    assert all(least <= count <= most for count in counts(loads, least, (least, most)))


async def test_a_busy_unit_gets_more_replicas(tmp_path: Path, note: Callable[[str], None]) -> None:
    text = f'{SPLIT}\n[unit.Prices]\ncomponents = ["Prices"]\nreplicas = [1, 3]\n'
    async with shift(tmp_path, f"{text}\n[component.Prices]\nconcurrency = 2\n") as it:
        assert len(await it.processes("Prices")) == 1
        prices = it.host.of(Prices)

        async def ask() -> None:
            while True:
                await prices.wait(0.05)

        asking = [asyncio.create_task(ask()) for _ in range(12)]
        try:
            seconds = await it.until(lambda there: len(there) == 3, "Prices")
        finally:
            for task in asking:
                task.cancel()
            ended = await asyncio.gather(*asking, return_exceptions=True)
        with pytest.raises(Refused, match="load scales it between 1 and 3"):
            await asyncio.to_thread(scale, "Prices", 4, folder=it.folder)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
    note(f"a unit that is kept busy has 3 replicas instead of 1 after {seconds:.1f} s")
