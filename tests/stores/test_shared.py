"""One ledger that several processes have open: one order, one holder of each partition, no read that was overtaken."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from allotrope.kernel.errors import Refused
from allotrope.storage.locks import Lock
from allotrope.storage.ports import Commit, Envelope, Fenced, Overtaken
from allotrope.stores.sqlite import SqliteLedger

ROOT = Path(__file__).resolve().parents[2]
EVENT = Envelope("Scored", "card", b"body", 1, 1, "/A.on#000")
DRIVER = """
import asyncio, itertools, os, signal, sys
import apsw
from allotrope.storage.locks import Lock
from allotrope.storage.ports import Commit, Envelope
from allotrope.stores.sqlite import SqliteLedger
from allotrope.testing import faults

steps, last = itertools.count(1), int(sys.argv[4])

def step(*statement):
    if next(steps) == last:  # of those that open the file
        os.kill(os.getpid(), signal.SIGKILL)
    return True

async def main(folder, name, count):
    ledger = SqliteLedger(folder, shared=True)
    await ledger.claim({ord(name): 1})
    print("open", flush=True)
    sys.stdin.readline()
    for number in range(1, count + 1):
        event = Envelope("Scored", name, b"%d" % number, 1, number, f"/{name}.on#000")
        row = (("t", f"{name}{number}", b"%d" % number),)
        await ledger.commit(Commit(f"{name}.on", number, "", row, (event,), record=b"r", lease=(ord(name), 1)))
        print(number, flush=True)
    ledger.close()

faults.arm()
if last:
    apsw.connection_hooks.append(lambda connection: connection.set_exec_trace(step))
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


class Driver:
    """Another process with the ledger open, which commits when it is told to go."""

    def __init__(self, folder: Path, name: str, count: int, crash: str = "", step: int = 0) -> None:
        self.name = name
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "ALLOTROPE_CRASH": crash}
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(folder), name, str(count), str(step)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def opened(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "open\n"

    def ended(self) -> tuple[int, int]:
        """Return how it ended, and how many commits it was told of."""
        told, _ = self.process.communicate("go\n", timeout=60)
        return self.process.returncode, len(told.splitlines())


def together(drivers: list[Driver]) -> list[tuple[int, int]]:
    """Return how they ended, all let go at once."""
    for driver in drivers:
        driver.opened()
    ended: dict[str, tuple[int, int]] = {}
    threads = [
        threading.Thread(target=lambda d=driver: ended.update({d.name: d.ended()})) for driver in drivers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [ended[driver.name] for driver in drivers]


def kept(folder: Path, name: str) -> list[int]:
    """Return what a process has committed, in the order of the outbox: rows, events and records must agree."""
    ledger = SqliteLedger(folder, shared=True)
    events = [event.origin for _, event in ledger.outbox(100_000) if event.key == name]
    assert sorted(int(row) for key, row in ledger.scan("t") if key[0] == name) == events
    assert [origin for consumer, origin, *_ in ledger.records() if consumer == f"{name}.on"] == events
    ledger.close()
    return events


def test_commits_of_two_processes_are_in_one_order(tmp_path: Path) -> None:
    assert together([Driver(tmp_path, name, 200) for name in "AB"]) == [(0, 200)] * 2
    assert [kept(tmp_path, name) for name in "AB"] == [list(range(1, 201))] * 2
    ledger = SqliteLedger(tmp_path, shared=True)
    assert [number for number, _ in ledger.outbox(1000)] == list(range(1, 401))
    ledger.close()


@pytest.mark.parametrize("point", ["commit.before", "commit.after", "checkpoint.before"])
def test_one_that_is_killed_takes_nothing_of_the_other_with_it(tmp_path: Path, point: str) -> None:
    nth = 1 if point == "checkpoint.before" else 40
    count = 400 if nth == 1 else 100
    (ended, told), (good, all_told) = together(
        [Driver(tmp_path, "A", count, f"{point}:{nth}"), Driver(tmp_path, "B", count)]
    )
    assert (ended, good, all_told) == (-9, 0, count)
    found = kept(tmp_path, "A")
    assert found == list(range(1, len(found) + 1))
    assert len(found) - told in (0, 1)  # the last one may have been kept, and nobody was told
    assert kept(tmp_path, "B") == list(range(1, count + 1))


@pytest.mark.parametrize("step", [1, 6, 10, 14, 20])
def test_the_first_that_dies_while_it_opens_leaves_the_rest_to_the_next(tmp_path: Path, step: int) -> None:
    assert Driver(tmp_path, "A", 3, step=step).ended() == (-9, 0)
    assert together([Driver(tmp_path, name, 3) for name in "BC"]) == [(0, 3)] * 2
    assert [kept(tmp_path, name) for name in "BC"] == [[1, 2, 3]] * 2


def test_who_waits_for_the_first_opens_it_when_that_one_has_died(tmp_path: Path) -> None:
    first = Lock(tmp_path / "ledger.db", shared=True)  # it has not admitted anybody
    others = [Driver(tmp_path, name, 3) for name in "BC"]
    first.release()
    assert together(others) == [(0, 3)] * 2
    assert [kept(tmp_path, name) for name in "BC"] == [[1, 2, 3]] * 2


# -- two in this process: they know as little of each other


@pytest.fixture
def two(tmp_path: Path) -> list[SqliteLedger]:
    return [SqliteLedger(tmp_path, shared=True), SqliteLedger(tmp_path, shared=True)]


def effect(origin: int, **parts: object) -> Commit:
    return Commit("A.on", origin, "", **parts)  # type: ignore[arg-type]  # the tests give parts of the right types


async def test_who_has_lost_a_partition_commits_nothing(two: list[SqliteLedger]) -> None:
    old, new = two
    await old.claim({1: 10, 2: 10})
    assert await old.commit(effect(1, lease=(1, 10)))
    await new.claim({1: 11})
    with pytest.raises(Fenced, match="partition 1 is another's now"):
        await old.commit(effect(2, writes=(("t", "a", b"1"),), outbox=(EVENT,), record=b"r", lease=(1, 10)))
    assert (new.get("t", "a"), new.outbox(), list(new.records(2))) == (None, [], [])
    assert [origin for _, origin, _ in new.inbox()] == [1]  # the delivery can be taken by its holder
    assert await old.commit(effect(3, lease=(2, 10)))  # what it still holds it may write
    assert await new.commit(effect(2, lease=(1, 11)))
    with pytest.raises(Fenced, match="under a later epoch than 10"):
        await old.claim({1: 10})
    await new.claim({1: 11})  # once more is no other claim


async def test_a_claim_of_several_partitions_holds_whole_or_not_at_all(two: list[SqliteLedger]) -> None:
    old, new = two
    await new.claim({2: 11})
    with pytest.raises(Fenced):
        await old.claim({1: 10, 2: 10, 3: 10})
    await new.claim({1: 5, 3: 5})  # else these would be fenced off


async def test_a_commit_whose_reads_were_overtaken_is_not_taken(two: list[SqliteLedger]) -> None:
    one, other = two
    await one.commit(effect(1, writes=(("t", "a", b"1"), ("t", "b", b"1"))))
    mark = other.mark()
    assert other.get("t", "a") == b"1"
    await one.commit(effect(2, writes=(("t", "a", b"2"),)))
    for reads in ((("t", "a"),), (("t", None),)):
        with pytest.raises(Overtaken, match=r"t: another process has changed what A\.on has read"):
            await other.commit(effect(3, writes=(("t", "c", b"3"),), reads=reads, mark=mark))
    assert other.get("t", "c") is None
    for origin, reads in ((4, (("t", "b"),)), (5, (("u", None),)), (6, ())):
        assert await other.commit(effect(origin, reads=reads, mark=mark))
    assert await other.commit(effect(3, reads=(("t", "a"), ("t", None)), mark=other.mark()))


async def test_a_deleted_row_overtakes_who_has_read_it(two: list[SqliteLedger]) -> None:
    one, other = two
    await one.commit(effect(1, writes=(("t", "a", b"1"),)))
    mark = other.mark()
    await one.commit(effect(2, writes=(("t", "a", None),)))
    with pytest.raises(Overtaken):
        await other.commit(effect(3, reads=(("t", "a"),), mark=mark))


async def test_a_delivery_has_one_effect_whoever_runs_it(two: list[SqliteLedger]) -> None:
    taken = await asyncio.gather(
        *(ledger.commit(effect(n, outbox=(EVENT,), record=b"r")) for n in range(1, 30) for ledger in two)
    )
    assert sum(taken) == 29
    assert [number for number, _ in two[0].outbox()] == list(range(1, 30))
    await two[1].relayed(range(1, 30))
    assert two[0].outbox() == []
    await two[0].commit(effect(31, outbox=(EVENT,)))
    assert two[1].outbox() == [(30, EVENT)]


async def test_the_floor_of_one_is_the_floor_of_all(two: list[SqliteLedger], tmp_path: Path) -> None:
    one, other = two
    for origin in (1, 2, 5):
        await one.commit(effect(origin))
    one.finish(5)
    await one.commit(effect(6))
    assert not await other.commit(effect(2, writes=(("t", "a", b"late"),)))
    assert other.floor() == 5
    assert other.get("t", "a") is None
    one.close()
    other.close()
    again = SqliteLedger(tmp_path, shared=True)
    assert (again.floor(), [origin for _, origin, _ in again.inbox()]) == (5, [5, 6])


async def test_outcomes_are_found_by_all(two: list[SqliteLedger]) -> None:
    one, other = two
    await one.commit(effect(1, request="r", outcome=b"o", at=1_000_000))
    assert other.outcome("r") == b"o"
    day = 86_400_000_000
    await other.commit(effect(2, request="later", outcome=b"p", at=1_000_000 + day))
    await one.commit(effect(3))
    assert (one.outcome("r"), one.outcome("later")) == (None, b"p")


def test_one_that_is_not_shared_keeps_all_others_out(tmp_path: Path) -> None:
    shared = SqliteLedger(tmp_path, shared=True)
    with pytest.raises(Refused, match="in use by process"):
        SqliteLedger(tmp_path)
    shared.close()
    SqliteLedger(tmp_path).close()


async def test_one_that_closes_late_takes_no_number_back(two: list[SqliteLedger]) -> None:
    one, other = two
    event = Envelope("Noted", "k", b"", 0, 1, "/a#000")
    await one.commit(effect(1, outbox=(event,)))
    for origin in range(2, 6):
        await other.commit(effect(origin, outbox=(event,)))
    one.finish(2)
    one.close()
    await other.relayed([number for number, _ in other.outbox()])
    await other.commit(effect(9, outbox=(event,)))
    assert [number for number, _ in other.outbox()] == [6]
