"""A fleet at work: its replicas are killed, stopped, replaced, and made more and fewer, while requests go on."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import apsw
import pytest

from allotrope.cli.fleet.roll import roll
from allotrope.cli.fleet.scale import scale
from allotrope.compose import build
from allotrope.engines.processes.control import Seen
from allotrope.kernel.codec import encode
from allotrope.kernel.errors import Refused
from allotrope.runtime.sites.apart import Apart
from allotrope.runtime.sites.wire import Address, Fed, Letter, opened
from allotrope.testing.faults import stop
from tests.engines.processes.kiosk import Desk, Order, Prices, app
from tests.engines.processes.shift import SPLIT, gone, kill, met, shift

Note = Callable[[str], None]
UNITS = ("Bookings", "Prices", "Books", "Desk")


def so_many(count: int) -> Callable[[list[Seen]], bool]:
    return lambda there: len(there) == count


def others(before: list[Seen]) -> Callable[[list[Seen]], bool]:
    """As many as before, and none of them."""
    names = {process.name for process in before}
    return lambda there: len(there) == len(before) and not names & {process.name for process in there}


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_killed_unit_loses_nothing_and_is_soon_back(
    tmp_path: Path, note: Note, replicas: int
) -> None:
    times = []
    async with shift(tmp_path, SPLIT.replace("[2, 2]", f"[{replicas}, {replicas}]")) as it:
        async with it.busy():
            await it.answered(0)
            for unit in UNITS:
                killed = await it.processes(unit)
                for process in killed:
                    kill(process)
                times.append(await it.until(others(killed), unit))
                await it.answered(it.quotes)
        await it.settled()
    told = ", ".join(f"{unit} {seconds:.2f} s" for unit, seconds in zip(UNITS, times, strict=True))
    note(
        f"all {replicas} replicas of a unit killed under load, back after: {told}; "
        f"{it.quotes} quotes, {len(it.failures)} failed"
    )
    assert max(times) < 10


async def test_a_roll_of_all_units_fails_no_request(tmp_path: Path, note: Note) -> None:
    async with shift(tmp_path) as it:
        await it.until(lambda there: len(there) == 8)  # one of each is enough for a start
        before = {process.pid for process in await it.processes()}
        async with it.busy():
            await it.answered(0)
            start = time.monotonic()
            await asyncio.to_thread(roll, folder=it.folder)
            seconds = time.monotonic() - start
            await it.answered(it.quotes)
        assert it.failures == []
        after = {process.pid for process in await it.processes()}
        assert len(after) == len(before) == 8
        assert not before & after
        assert all(map(gone, before))
        await it.settled()
    note(f"a roll of 4 units of 2 replicas: {seconds:.1f} s, {it.quotes} quotes, none failed")


async def test_more_and_fewer_replicas_under_load(tmp_path: Path) -> None:
    async with shift(tmp_path) as it:
        async with it.busy():
            for count in (4, 1, 3, 2):
                for unit in UNITS:
                    await asyncio.to_thread(scale, unit, count, folder=it.folder)
                    await it.until(so_many(count), unit)
                await it.answered(it.quotes)
            held = [p.partitions for p in await it.processes("Books")]
            assert sorted(number for numbers in held for number in numbers) == list(range(16))
        assert it.failures == []
        await it.settled()


async def test_one_that_was_stopped_past_its_lease_commits_nothing(tmp_path: Path) -> None:
    one = SPLIT.replace("[2, 2]", "[1, 1]")
    async with shift(tmp_path, one) as it:
        (old,) = await it.processes("Books")
        log = it.folder / "logs" / "Books.log"
        ledger = apsw.Connection(str(it.folder / "Books" / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
        leases = dict(ledger.execute("SELECT * FROM lease"))
        await it.host.publish(Order("a", 1, slow=0.5))
        await met(lambda: f"order 1 waits in {old.pid}" in log.read_text())
        os.kill(old.pid, signal.SIGSTOP)  # while it is at work on it
        await it.until(lambda there: [p.name for p in there] != [old.name] and len(there) == 1, "Books")
        async with asyncio.timeout(20):
            await it.host.settled()
        counts = "(SELECT count(*) FROM record), (SELECT number FROM marks)"
        asked = f"SELECT {counts}, (SELECT group_concat(hex(row)) FROM rows)"
        kept = ledger.execute(asked).fetchall()
        assert kept[0][0] == 1
        assert leases.keys() == dict(ledger.execute("SELECT * FROM lease")).keys()
        assert all(epoch > leases[part] for part, epoch in ledger.execute("SELECT * FROM lease"))
        os.kill(old.pid, signal.SIGCONT)
        await met(
            lambda: f"order 1 goes on in {old.pid}" in log.read_text()
        )  # it wakes, and comes to its end
        os.kill(old.pid, signal.SIGTERM)  # so that it ends in order, with all that it has begun
        await met(lambda: gone(old.pid))
        assert ledger.execute(asked).fetchall() == kept
        ledger.close()


@pytest.mark.parametrize(
    ("unit", "says"),
    [
        (
            f'python = "{sys.executable}"\nenvironment = {{ KIOSK_BROKEN = "the drawer is stuck" }}',
            "the drawer is stuck",
        ),
        ('python = "/nowhere/python"', "/nowhere/python"),
    ],
)
async def test_a_unit_that_cannot_start_is_named_with_its_last_words(
    tmp_path: Path, unit: str, says: str
) -> None:
    with pytest.raises(Refused, match=r"unit `Desk` cannot be started, 3 times: .*") as refused:
        async with shift(tmp_path, f'{SPLIT}\n[unit.Desk]\ncomponents = ["Desk"]\n{unit}\n'):
            pass
    assert says in str(refused.value)


async def test_one_that_is_not_ready_for_a_moment_leaves_one_holder_of_each_partition(tmp_path: Path) -> None:
    async with shift(tmp_path) as it:
        assert isinstance(it.host.site, Apart)
        wire = it.host.site.wire
        first, _ = await it.processes("Desk", "")
        await it.until(so_many(2), "Desk")
        for fed, there in (
            (Fed((), 0, first=True, last=False), lambda held: [len(numbers) for numbers in held] == [16]),
            (Fed((), 0), lambda held: [len(numbers) for numbers in held] == [8, 8]),
        ):
            opened(await wire.call(Address("Desk", replica=first.name), "feed", Letter(encode(fed))), None)
            await it.until(lambda ready, there=there: there([p.partitions for p in ready]), "Desk")
        held = [number for process in await it.processes("Desk", "") for number in process.partitions]
        assert sorted(held) == list(range(16))
        async with it.busy():
            await it.answered(0)
        await it.settled()  # who holds a partition may commit in it


async def test_a_clock_that_went_back_for_days_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = SPLIT.replace("[2, 2]", "[1, 1]")
    async with shift(tmp_path, one) as it:
        await it.until(so_many(1), "Books")
    ledger = apsw.Connection(str(it.folder / "Books" / "ledger.db"))
    ledger.execute("UPDATE lease SET epoch=epoch+?", (10 * 86400 * 1_000_000,))
    ledger.close()
    async with shift(tmp_path, one) as it:
        async with it.busy():
            await it.answered(0)
        await it.settled()
    assert "did not claim" in caplog.text
    assert "offered again" in caplog.text


async def test_two_fleets_in_one_folder_are_refused(tmp_path: Path) -> None:
    async with shift(tmp_path) as it:
        with pytest.raises(Refused, match="in use by process"):
            build(app, str(tmp_path / "split.toml"), it.folder)
        async with it.busy():
            await it.answered(it.quotes)


async def test_a_callee_that_is_away_is_answered_for(tmp_path: Path) -> None:
    one = SPLIT.replace("[2, 2]", "[1, 1]")
    said = 'fallback = "Desk.guess"\ndeadline_s = 0.2\nbreaker = 2\nretries = 0.0'
    async with shift(tmp_path, f'{one}\n[resilience."Prices.price"]\n{said}\n') as it:
        desk = it.host.of(Desk)
        assert await desk.quote("a", 2) == 3.0
        (prices,) = await it.processes("Prices")
        os.kill(prices.pid, signal.SIGSTOP)  # it is not gone: it does not answer
        start = time.monotonic()
        assert [await desk.quote("a", 2) for _ in range(6)] == [-1.0] * 6
        assert time.monotonic() - start < 0.9  # the breaker spares four of them the waiting
        meter = (await it.host.site.meters())["Desk", "Desk-1.1", "1"]["Prices.price"]
        assert (meter.fallbacks, meter.shut) == (6, 1)
        await it.until(lambda there: [p.name for p in there] != [prices.name] and len(there) == 1, "Prices")
        async with asyncio.timeout(20):
            while await desk.quote("a", 2) != 3.0:  # once the breaker has tried it
                pass


async def test_one_that_has_grown_too_large_is_replaced(tmp_path: Path) -> None:
    text = f'{SPLIT}\n[unit.Prices]\ncomponents = ["Prices"]\nmemory_mb = 100\n'
    async with shift(tmp_path, text) as it:
        (old,) = await it.processes("Prices")
        async with it.busy():
            assert await it.host.of(Prices).hoard(120) == old.pid
            await it.until(lambda there: len(there) == 1 and there[0].pid != old.pid, "Prices")
        assert it.failures == []
        await it.settled()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_at_once_nothing_is_lost_or_doubled(
    tmp_path: Path, note: Note, seed: int
) -> None:
    chance, done = Random(seed), Counter[str]()

    async def kill_one() -> None:
        if there := await it.processes():
            kill(chance.choice(there))

    async def stop_one() -> None:
        if there := await it.processes():
            waking = stop(chance.choice(there).pid, chance.uniform(0.1, 2.5))
            await asyncio.to_thread(waking.join)

    async def scale_one() -> None:
        with contextlib.suppress(Refused):  # while it is rolled
            await asyncio.to_thread(scale, chance.choice(UNITS), chance.randint(1, 3), folder=it.folder)

    async def roll_one() -> None:
        with contextlib.suppress(Refused):
            await asyncio.to_thread(roll, chance.choice(UNITS), folder=it.folder)

    async with shift(tmp_path) as it:
        async with it.busy():
            until = time.monotonic() + 20
            while time.monotonic() < until:
                things = chance.sample([kill_one, stop_one, scale_one, roll_one], 2)
                async with asyncio.timeout(60):
                    await asyncio.gather(*(thing() for thing in things))
                done.update(thing.__name__ for thing in things)
        await it.settled()
    note(f"{dict(done)} at once: {it.quotes} quotes, {len(it.failures)} failed; all effects once")
