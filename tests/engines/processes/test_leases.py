"""Who holds which partition: all are held, by one replica each, evenly, and as few change hands as can be."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from allotrope.engines.processes.leases import Leases, Lessor, shared_out
from allotrope.engines.processes.lines import Canary, Directory, Replica
from allotrope.kernel import codec
from allotrope.kernel.errors import Failed, Lost
from allotrope.storage.ports import Commit, Fenced
from allotrope.stores.sqlite import SqliteLedger

NAMES = [f"r{number}" for number in range(6)]


@given(
    some.integers(1, 40),
    some.dictionaries(some.integers(0, 39), some.sampled_from(NAMES)),
    some.lists(some.sampled_from(NAMES), unique=True),
)
def test_all_are_held_and_evenly(partitions: int, holders: dict[int, str], names: list[str]) -> None:
    placed = shared_out(range(partitions), holders, tuple(names))
    if not names:
        assert placed == {}
        return
    assert sorted(placed) == list(range(partitions))
    counts = Counter(dict.fromkeys(names, 0))
    counts.update(placed.values())
    assert set(counts) == set(names)
    assert max(counts.values()) - min(counts.values()) <= 1


@given(some.integers(1, 40), some.lists(some.sampled_from(NAMES), unique=True, min_size=1), some.data())
def test_only_those_move_that_must(partitions: int, names: list[str], data: some.DataObject) -> None:
    before = shared_out(range(partitions), {}, tuple(names))
    assert shared_out(range(partitions), before, tuple(names)) == before
    gone = data.draw(some.sampled_from(names))
    left = tuple(name for name in names if name != gone)
    after = shared_out(range(partitions), before, left)
    if left:
        assert all(after[p] == holder for p, holder in before.items() if holder != gone)
    come = shared_out(range(partitions), before, (*names, "new"))
    moved = [p for p, holder in come.items() if before[p] != holder]
    assert {come[p] for p in moved} <= {"new"}
    assert len(moved) <= -(-partitions // (len(names) + 1))


def test_a_unit_has_its_replicas() -> None:
    there = (Replica("a-1.1", "a", "unix:/x"), Replica("b-1.1", "b", "unix:/y"))
    assert Directory(1, there).of("b") == (there[1],)


# -- giving them out


class Clerk:
    """A replica as a lessor knows it: it holds what the ledger that it shares with the others lets it claim."""

    def __init__(self, name: str, ledger: SqliteLedger, release: int = 1) -> None:
        self.name, self.ledger, self.release = name, ledger, release
        self.up = self.well = True
        self.leaving = False
        self.leases: dict[int, int] = {}
        self.faults: list[str] = []  # of its next answers

    @property
    def ready(self) -> bool:
        return self.up and self.well

    @property
    def able(self) -> bool:
        return self.ready and not self.leaving

    async def ask(self, method: str, letter: bytes, timeout_s: float | None = None) -> None:
        fault = self.faults.pop() if self.faults else ""
        await asyncio.sleep(0)  # others come in between
        if fault == "deaf" or not self.up:
            raise Lost(f"{self.name} was not there")
        if fault == "full":
            raise Failed("unit", "letter", "the disk is full")
        if method == "claim":
            leases = codec.decode(letter, dict[int, int])
            await self.ledger.claim(leases)
            self.leases |= leases
        else:
            for partition in codec.decode(letter, tuple[int, ...]):
                self.leases.pop(partition, None)
        if fault == "mute":  # it has done it
            raise Lost(f"{self.name} did not answer")

    async def commits(self, partition: int) -> bool:
        """Whether the ledger takes what it does there."""
        effect = Commit(f"{self.name}.{partition}", 1, "0", lease=(partition, self.leases.get(partition, -1)))
        try:
            return await self.ledger.commit(effect)
        except Fenced:
            return False


class Office:
    """Clerks who come and go, and the lessor that they depend on."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self.ledger = SqliteLedger(folder, "process", shared=True)
        self.partitions = partitions
        self.clerks: list[Clerk] = []
        self.named: list[dict[str, frozenset[int]]] = []
        self.come = 0
        self.restart(0.0)

    def restart(self, back_s: float) -> None:
        """Have a new lessor with new clerks, whose clock is behind that of the former one."""
        self.clerks.clear()
        self.lessor = Lessor(self.partitions, self.publish)
        epoch = self.lessor.leases.epoch - int(back_s * 1e6)
        self.lessor.leases = Leases(self.partitions, epoch)

    def publish(self) -> None:
        """Nobody is ever sent to two holders of one partition."""
        held = [p for clerk in self.clerks for p in self.lessor.leases.of(clerk.name)]
        assert len(held) == len(set(held))

    async def settle(self) -> bool:
        return await self.lessor.settle(lambda: list(self.clerks))

    def change(self, what: str, which: int, fault: str) -> None:
        if what in ("join", "beside"):
            self.come += 1
            self.clerks.append(Clerk(f"c{self.come}", self.ledger, 1 + (what == "beside")))
        elif what == "canary":
            self.lessor.canary = None if which == 5 else Canary("u", 2, (which + 1) / 5, self.partitions)
        elif what == "restart":
            self.restart(10.0 ** (which + 1))
        elif self.clerks:
            clerk = self.clerks[which % len(self.clerks)]
            if what == "fault":
                clerk.faults.append(fault)
            elif what == "flip":
                clerk.well = not clerk.well
            elif what == "leave":
                clerk.leaving = True
            else:
                clerk.up = False
                self.clerks.remove(clerk)

    async def quiet(self) -> None:
        """All is well now: each partition has one holder, whom the ledger knows, and nobody else commits in it."""
        for clerk in self.clerks:
            clerk.well, clerk.faults = True, []
        self.clerks[:] = [clerk for clerk in self.clerks if not clerk.leaving]
        self.change("join", 0, "")
        for _ in range(20):  # a clock that is years behind takes its time
            if await self.settle():
                break
        leases = self.lessor.leases
        assert sorted(leases.holders) == list(range(self.partitions))
        for partition, name in leases.holders.items():
            for clerk in self.clerks:
                if clerk.name == name:
                    assert await clerk.commits(partition)
                elif partition in clerk.leases:  # it was never told that it has lost it
                    assert not await clerk.commits(partition)
        assert set(leases.holders.values()) <= {clerk.name for clerk in self.clerks if clerk.able}
        canary, newer = self.lessor.canary, [c.name for c in self.clerks if c.release == 2]
        if canary is not None and canary.share < 1 and newer:  # there is one of the others
            held = {p for p, name in leases.holders.items() if name in newer}
            assert held == {*range(self.partitions - canary.taken, self.partitions)}


CHANGES = some.tuples(
    some.sampled_from(["join", "beside", "canary", "leave", "die", "flip", "flip", "fault", "restart"]),
    some.integers(0, 5),
    some.sampled_from(["deaf", "mute", "full"]),
    some.booleans(),
)


@settings(max_examples=150)
@given(some.integers(1, 9), some.lists(CHANGES, max_size=25))
def test_once_quiet_each_partition_has_one_holder_and_the_ledger_knows_it(
    partitions: int, changes: list[tuple[str, int, str, bool]]
) -> None:
    async def work(folder: Path) -> None:
        office = Office(folder, partitions)
        settling: list[asyncio.Task[bool]] = []
        for _ in range(3):
            office.change("join", 0, "")
        await office.settle()
        for what, which, fault, waits in changes:
            office.change(what, which, fault)
            settling.append(asyncio.create_task(office.settle()))
            if waits:
                await asyncio.gather(*settling)
            else:
                await asyncio.sleep(0)  # the next change comes in the middle of it
        await asyncio.gather(*settling)
        await office.quiet()
        office.ledger.close()

    with TemporaryDirectory() as folder:
        asyncio.run(work(Path(folder)))


@pytest.fixture
def office(tmp_path: Path) -> Office:
    found = Office(tmp_path, 4)
    found.change("join", 0, "")
    found.change("join", 0, "")
    return found


def held(office: Office) -> Callable[[int], frozenset[int]]:
    return lambda number: office.lessor.leases.of(office.clerks[number].name)


async def test_one_that_is_not_ready_for_a_moment_comes_back_without_what_others_have(office: Office) -> None:
    assert await office.settle()
    first = office.clerks[0]
    before, has = dict(first.leases), held(office)
    first.well, first.faults = False, ["deaf"]  # it does not even hear that it has lost them
    assert await office.settle()
    assert (has(0), has(1)) == (frozenset(), frozenset(range(4)))
    assert first.leases == before
    assert not any([await first.commits(partition) for partition in before])
    first.well = True
    assert await office.settle()
    assert (len(has(0)), len(has(1))) == (2, 2)
    assert not has(0) & has(1)
    assert all([await first.commits(partition) for partition in has(0)])


@pytest.mark.parametrize("fault", ["deaf", "mute", "full"])
async def test_a_claim_that_failed_is_said_and_made_again(
    office: Office, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    office.clerks[1].faults = [fault]
    assert not await office.settle()
    assert f"{office.clerks[1].name} did not claim" in caplog.text
    assert await office.settle()
    assert await office.clerks[1].commits(max(held(office)(1)))


async def test_a_clock_that_went_back_is_said_and_overtaken(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    assert await office.settle()
    office.restart(back_s=30 * 365 * 86400.0)
    office.change("join", 0, "")
    tries = 1
    while not await office.settle():
        tries += 1
    assert 1 < tries < 9
    assert "later epoch" in caplog.text
    assert all([await office.clerks[0].commits(partition) for partition in range(4)])
