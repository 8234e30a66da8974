"""Random use of each log and ledger, opened again at random, against a model of a few lines."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from allotrope.logs.memory import MemoryLog
from allotrope.logs.sqlite import SqliteLog
from allotrope.storage.ports import Commit, Envelope
from allotrope.stores.memory import MemoryLedger
from allotrope.stores.sqlite import SqliteLedger

DAY = 86_400_000_000
LOGS: dict[str, Callable[[str], Any]] = {
    "memory": lambda folder: MemoryLog(partitions=16),
    "process": lambda folder: SqliteLog(folder, "process"),
    "power": lambda folder: SqliteLog(folder, "power"),
}
LEDGERS: dict[str, Callable[[str], Any]] = {
    "memory": lambda folder: MemoryLedger(),
    "process": lambda folder: SqliteLedger(folder, "process"),
    "power": lambda folder: SqliteLedger(folder, "power"),
    "shared": lambda folder: SqliteLedger(folder, "process", shared=True),
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
SMALL = st.integers(1, 6)

INPUT = st.builds(
    lambda key, request, tenant: Envelope("Payment", key, key.encode(), 1, request=request, tenant=tenant),
    TEXT, st.sampled_from(["", "r1", "r2"]), st.sampled_from(["", "a"]),
)  # fmt: skip
LOG_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(INPUT, max_size=4)),
        st.tuples(st.just("relay"), st.tuples(st.sampled_from("ab"), SMALL, SMALL)),
        st.just(("again", None)),
    ),
    max_size=12,
)


@pytest.mark.parametrize("level", LOGS)
@settings(max_examples=60)
@given(steps=LOG_STEPS)
def test_a_log_holds_what_its_model_holds(level: str, steps: list[tuple[str, Any]]) -> None:
    async def run(folder: str) -> None:
        log = LOGS[level](folder)
        entries: list[Envelope] = []
        requests: dict[tuple[str, str], Envelope] = {}
        marks = {"a": 0, "b": 0}
        for step, what in steps:
            if step == "append":
                expected = []
                for each in what:
                    known = requests.get((each.tenant, each.request)) if each.request else None
                    if known is None:
                        origin = 1 + sum(not entry.path for entry in entries)
                        known = replace(each, origin=origin)
                        entries.append(known)
                        requests[each.tenant, each.request] = known
                    expected.append(known)
                assert [entry.envelope for entry in await log.append(what)] == expected
            elif step == "relay":
                source, first, count = what
                numbered = [(n, Envelope("E", str(n), b"", 1, 1, "/p")) for n in range(first, first + count)]
                entries += [event for number, event in numbered if number > marks[source]]
                marks[source] = max(marks[source], first + count - 1)
                await log.relay(source, numbered)
            elif level != "memory":
                log.release()
                log = LOGS[level](folder)
            found = await log.read()
            assert [entry.envelope for entry in found] == entries
            assert [entry.position for entry in found] == list(range(1, len(entries) + 1))
        log.release()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(folder))


COMMIT = st.builds(
    lambda origin, writes, events, request, at: Commit(
        "A.on", origin, "", tuple(writes), tuple([Envelope("E", "k", b"", 1, origin, "/p")] * events),
        request, b"o%d" % origin, b"r%d" % origin, at,
    ),
    st.integers(0, 30),
    st.lists(st.tuples(st.sampled_from(["t", "u"]), TEXT, st.none() | st.binary(max_size=3)), max_size=4),
    st.integers(0, 2), st.sampled_from(["", "r1", "r2"]), st.integers(1, 3 * DAY),
)  # fmt: skip
LEDGER_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), COMMIT),
        st.tuples(st.just("finish"), st.integers(0, 30)),
        st.tuples(st.just("relayed"), SMALL),
        st.just(("again", None)),
    ),
    max_size=15,
)


class Books:
    """What a ledger should hold."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], bytes] = {}
        self.outbox: list[tuple[int, Envelope]] = []
        self.outcomes: dict[str, tuple[bytes, int]] = {}
        self.records: dict[int, bytes] = {}
        self.inbox: set[int] = set()
        self.floor = self.number = self.newest = 0

    def commit(self, effect: Commit) -> None:
        if effect.origin < self.floor or effect.origin in self.inbox:
            return
        self.inbox.add(effect.origin)
        self.records[effect.origin] = effect.record
        for table, key, row in effect.writes:
            self.rows.pop((table, key), None)
            if row is not None:
                self.rows[table, key] = row
        for event in effect.outbox:
            self.number += 1
            self.outbox.append((self.number, event))
        if effect.request:
            self.newest = max(self.newest, effect.at)
            self.outcomes[effect.request] = effect.outcome, effect.at

    def agrees(self, ledger: Any) -> None:
        for table in ("t", "u"):
            own = sorted((key, row) for (name, key), row in self.rows.items() if name == table)
            assert list(ledger.scan(table)) == own
            assert [(key, ledger.get(table, key)) for key, _ in own] == own
        assert list(ledger.outbox()) == self.outbox
        for request in ("r1", "r2"):
            outcome, at = self.outcomes.get(request, (None, 0))
            assert ledger.outcome(request) == (outcome if at > self.newest - DAY else None)
        assert {origin for _, origin, _ in ledger.inbox()} == {o for o in self.inbox if o >= self.floor}
        assert {origin: record for _, origin, _, record in ledger.records()} == self.records


@pytest.mark.parametrize("level", LEDGERS)
@settings(max_examples=60)
@given(steps=LEDGER_STEPS)
def test_a_ledger_holds_what_its_model_holds(level: str, steps: list[tuple[str, Any]]) -> None:
    async def run(folder: str) -> None:
        ledger, books = LEDGERS[level](folder), Books()
        for step, what in steps:
            if step == "commit":
                books.commit(what)
                await ledger.commit(what)
            elif step == "finish":
                books.floor = max(books.floor, what)
                ledger.finish(what)
            elif step == "relayed":
                numbers = [number for number, _ in books.outbox[:what]]
                books.outbox = books.outbox[what:]
                await ledger.relayed(numbers)
            elif level != "memory":
                ledger.close()
                ledger = LEDGERS[level](folder)
            books.agrees(ledger)
        ledger.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(folder))


def test_the_folder_may_be_a_path(tmp_path: Path) -> None:
    SqliteLog(tmp_path / "new" / "folder").release()
    assert (tmp_path / "new" / "folder" / "log.db").stat().st_size > 0
