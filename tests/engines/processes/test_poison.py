"""What ends its process again and again is given up; whoever was beside it is not."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from allotrope.cli.fleet.ps import sight
from allotrope.compose import build, document
from allotrope.engines.desk import Desk, Wish
from allotrope.kernel.errors import Failed, Lost, Refused
from allotrope.runtime.effects.letters import Search
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from allotrope.runtime.sites.wire import LONGEST
from tests.engines.processes.poison import Job, Works, app

NAMES = [f"n{number}" for number in range(12)]
REPLICAS = 'base = "microservices"\n[unit.Works]\ncomponents = ["Works"]\nreplicas = [{0}, {0}]\n'


@contextlib.asynccontextmanager
async def works(folder: Path, replicas: int = 1, more: str = "") -> AsyncIterator[Host]:
    path = folder / "poison.toml"
    path.write_text(REPLICAS.format(replicas) + more)
    host = build(app, document(str(path)), folder / "kept", Options(ticks=False))
    try:
        await host.start()
        yield host
    finally:
        await host.close()


async def numbers(host: Host, name: str) -> tuple[int, ...]:
    while True:
        try:
            return await host.of(Works).numbers(name)
        except Lost:  # it was asked of a process that has just ended
            continue


async def held(folder: Path) -> list[int]:
    """How many partitions each process holds."""
    there = (await asyncio.to_thread(sight, folder)).processes
    return [len(process.partitions) for process in there if process.unit == "Works"]


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("exit", "ended with exit code 7"),
        ("segfault", "ended: killed by signal 11 (SIGSEGV)"),
        ("memory", "ended: killed by signal 9 (SIGKILL)"),
    ],
)
async def test_an_event_that_ends_its_process_is_parked_and_all_others_go_on(
    tmp_path: Path, does: str, says: str
) -> None:
    async with works(tmp_path) as host:
        for name in NAMES:
            await host.publish(Job(name, 1, "slow"))
        await host.publish(Job("bad", 1))
        await host.publish(Job("bad", 2, does))
        await host.publish(Job("bad", 3))
        for name in NAMES:
            await host.publish(Job(name, 2, "slow"))
        async with asyncio.timeout(60):
            await host.settled()
        assert host.site.parked == 2
        assert await numbers(host, "bad") == (1,)
        assert [await numbers(host, name) for name in NAMES] == [(1, 2)] * len(NAMES)
        record, behind = [r for r in (await host.site.contents()).records if r.error]
        assert record.error.startswith("Failed: Works.work failed: it ended its process ")
        assert says in record.error
        assert (record.writes, record.events) == ((), ())
        assert behind.error == "Parked: Works has key 'bad' parked, and this waits behind"
        desk = Desk(host)
        (poison, after) = (await desk.letters(Search(key="bad"))).letters
        assert (poison.kind, poison.attempts, says in poison.reason) == ("Failed", 3, True)
        assert (after.kind, after.attempts) == ("Parked", 0)
        (gone,) = await desk.redrive(Wish(Search(name=poison.name), discard=True))
        assert (gone.gone, gone.left) == (1, 1)
        (done,) = await desk.redrive(Wish(Search()))
        assert (done.key, done.gone, done.left) == ("bad", 1, 0)
        assert await numbers(host, "bad") == (1, 3)


async def test_a_command_that_ends_its_process_ends_as_failed_and_stays_so(tmp_path: Path) -> None:
    async with works(tmp_path, 2) as host:
        given = Input(request="r")
        for _ in range(2):
            async with asyncio.timeout(60):
                with pytest.raises(Failed, match="it ended its process 3 times, at last alone there"):
                    await host.tell("Works.order", ("bad", "exit"), given)
        assert await host.tell("Works.order", ("bad", "")) > 0


async def test_who_is_at_work_beside_queries_that_end_the_process_is_not_blamed(tmp_path: Path) -> None:
    async with works(tmp_path) as host:
        for number in (1, 2):
            for name in NAMES:
                await host.publish(Job(name, number, "slow"))
            says = r"unit `Works`: Works-1\.\d ended with exit code 7; there was no answer yet"
            with pytest.raises(Lost, match=says):  # of the second process: it is asked once more
                await host.of(Works).end("exit")
        async with asyncio.timeout(60):
            await host.settled()
        assert host.site.parked == 0
        assert [await numbers(host, name) for name in NAMES] == [(1, 2)] * len(NAMES)


async def test_who_asked_and_who_looks_learn_how_a_process_ended(tmp_path: Path) -> None:
    async with works(tmp_path, 1, "[resilience.Works]\nretries = 0.0\n") as host:
        pid = await host.tell("Works.order", ("a", ""))
        asked = asyncio.ensure_future(host.of(Works).stay())
        async with asyncio.timeout(10):
            while not any("Works.stay" in meters for meters in (await host.site.meters()).values()):
                pass
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(
            Lost, match=r"unit `Works`: Works-1\.1 ended: killed by signal 9 \(SIGKILL\); there was no"
        ):
            await asked
        said: list[str] = []
        async with asyncio.timeout(10):
            while not said:
                there = (await asyncio.to_thread(sight, tmp_path / "kept")).processes
                said = [process.said for process in there if process.name == "Works-1.2"]
        assert said == ["ended: killed by signal 9 (SIGKILL)"]


async def test_what_no_letter_can_hold_ends_at_once(tmp_path: Path) -> None:
    async with works(tmp_path, 2) as host:
        it, most = host.of(Works), LONGEST
        with pytest.raises(
            Refused, match=rf"Works.take: its arguments have .* and {most:,} are the most.* file"
        ):
            await it.take("x" * most)
        with pytest.raises(
            Failed, match=rf"Works.give failed: its answer has .* and {most:,} are the most.* file"
        ):
            await it.give(most)
        assert len(await it.give(most - 10_000)) == most - 10_000  # what is let through can be sent


@pytest.mark.parametrize("preset", ["monolith", "microservices"])
async def test_a_query_that_says_it_was_cancelled_has_failed(tmp_path: Path, preset: str) -> None:
    host = build(app, preset, tmp_path, Options(ticks=False))
    await host.start()
    with pytest.raises(
        Failed, match=r"Works\.cancelled failed: CancelledError: what it awaited was cancelled"
    ):
        await host.of(Works).cancelled()
    await host.close()


async def test_who_is_stopped_in_the_middle_of_a_commit_holds_the_others_up_for_a_moment_only(
    tmp_path: Path,
) -> None:
    flag = tmp_path / "stop"
    async with works(tmp_path, 2, f'environment = {{ STOP_AT_COMMIT = "{flag}" }}') as host:
        for name in NAMES:
            await host.publish(Job(name, 1))
        await host.settled(deadline_s=20)
        async with asyncio.timeout(20):
            while await held(tmp_path / "kept") != [8, 8]:
                pass
        flag.touch()
        for name in NAMES:
            await host.publish(Job(name, 2))
        await host.settled(
            deadline_s=12
        )  # if nobody ended who has the lock, it would take over twenty seconds
        assert not flag.exists()
        assert [await numbers(host, name) for name in NAMES] == [(1, 2)] * len(NAMES)
