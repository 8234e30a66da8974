"""A file is opened by one instance, as durable as was asked, and it finds its own damage."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from allotrope.kernel.errors import Corrupted, Refused
from allotrope.kernel.tables import Durability
from allotrope.logs.sqlite import SqliteLog
from allotrope.storage.files import Database
from allotrope.storage.ports import Commit, Envelope
from allotrope.stores.sqlite import SqliteLedger

Change = Callable[[bytearray, int], None]
PAYMENT = Envelope("Payment", "card", b"\0body" * 30, 1)


async def fill(folder: Path, durability: Durability = "process") -> tuple[SqliteLog, SqliteLedger]:
    """Return a log and a ledger with some hundred entries, rows, outcomes and records, still open."""
    log, ledger = SqliteLog(folder, durability), SqliteLedger(folder, durability)
    for number in range(60):
        asked = [replace(PAYMENT, key=f"{number}/{part}", request=f"{number}/{part}") for part in "ab"]
        await log.append(asked)
        ledger.finish(number - 20)
        row = ("t", f"{number % 40}", b"row %d" % number * 9)
        event = replace(PAYMENT, origin=number, path="/p")
        await ledger.commit(
            Commit(
                "A.on", number, "", (row,), (event,), f"r{number}", b"outcome", b"record %d" % number, number
            )
        )
    return log, ledger


def contents(folder: Path) -> tuple[Any, ...]:
    """Return all that a log and a ledger tell."""
    log = SqliteLog(folder)
    try:
        ledger = SqliteLedger(folder)
        try:
            entries = asyncio.run(log.read())
            again = asyncio.run(log.append([each.envelope for each in entries[::10]]))
            return (
                entries, again, list(ledger.scan("t")), [ledger.get("t", str(key)) for key in range(40)],
                ledger.outbox(), [ledger.outcome(f"r{number}") for number in range(60)],
                list(ledger.records()), list(ledger.records(7)), list(ledger.inbox()), ledger.floor(),
            )  # fmt: skip
        finally:
            ledger.close()
    finally:
        log.release()


@pytest.fixture(scope="module", params=["closed", "killed"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a clean end leaves it, or as kill -9 does, with all commits in the write-ahead files."""
    folder: Path = tmp_path_factory.mktemp("folder")

    async def write() -> None:
        log, ledger = await fill(folder / "live")
        if request.param == "killed":
            shutil.copytree(folder / "live", folder / "kept")
        log.release()
        ledger.close()
        if request.param == "closed":
            shutil.copytree(folder / "live", folder / "kept")

    asyncio.run(write())
    return folder / "kept"


def damaged(kept: Path, tmp_path: Path, change: Change, count: int) -> tuple[int, int]:
    """Return how many damages were found, and how many changed nothing. No other may be."""
    copy = tmp_path / "copy"
    shutil.copytree(kept, copy)
    right = contents(copy)
    found = same = 0
    for file in sorted(kept.glob("*.db*")):
        if file.name.endswith("-shm") or (change is cut and file.name.endswith("-wal")):
            continue  # SQLite builds the one anew; the other, cut off, looks like one never written on
        size = file.stat().st_size
        for number in range(count):
            offset = number * 61 if number < 4 else number * size // count + number * 7 % 64
            shutil.rmtree(copy)
            shutil.copytree(kept, copy)
            data = bytearray(file.read_bytes())
            change(data, min(offset, size - 1))
            (copy / file.name).write_bytes(data)
            said = complaint(copy, right)
            assert said is None or (file.name.removesuffix("-wal") in said and "restore" in said.lower())
            found, same = found + bool(said), same + (not said)
    return found, same


def complaint(folder: Path, right: tuple[Any, ...]) -> str | None:
    """Return what is said of the damage in a folder, None when its contents are right; no third case."""
    try:
        assert contents(folder) == right, "other data, and no word of it"
    except Corrupted as error:
        return str(error)
    return None


def flip(data: bytearray, offset: int) -> None:
    data[offset] ^= 1 << offset % 8


def cut(data: bytearray, offset: int) -> None:
    del data[offset:]


def blank(data: bytearray, offset: int) -> None:
    data[offset : offset + 512] = bytes(len(data[offset : offset + 512]))


@pytest.mark.parametrize("change", [flip, cut, blank])
def test_no_damage_passes_in_silence(
    kept: Path, tmp_path: Path, change: Change, note: Callable[[str], None]
) -> None:
    found, same = damaged(kept, tmp_path, change, count=12)
    note(f"damage by {change.__name__}: {found} found, {same} without effect, 0 unseen")
    assert found


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("change", [flip, cut, blank])
def test_no_damage_passes_in_silence_at_many_places(
    kept: Path, tmp_path: Path, change: Change, note: Callable[[str], None]
) -> None:
    found, same = damaged(kept, tmp_path, change, count=600)
    note(f"damage by {change.__name__}, many places: {found} found, {same} without effect, 0 unseen")
    assert found


def test_a_lost_file_is_not_taken_for_a_new_one(kept: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(kept, copy)
    (copy / "log.db").unlink()
    with pytest.raises(Corrupted, match=r"log\.db: missing.*backup"):
        SqliteLog(copy)


def test_another_file_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database, but long enough to look at it" * 100)
    with pytest.raises(Corrupted, match=r"log\.db"):
        SqliteLog(tmp_path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    file = Database(tmp_path / "log.db", "CREATE TABLE t(a)", "process")
    file.writer.pragma("user_version", 9)
    file.close()
    with pytest.raises(Refused, match="format 9"):
        SqliteLog(tmp_path)


def test_a_second_instance_is_refused_by_name(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    for _ in range(2):
        with pytest.raises(Refused, match=rf"log\.db: in use by process {os.getpid()}\b.*another folder"):
            SqliteLog(tmp_path)
    code = f"from allotrope.logs.sqlite import SqliteLog; SqliteLog({str(tmp_path)!r})"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"in use by process {os.getpid()}" in other.stderr
    log.release()
    SqliteLog(tmp_path).release()


def test_other_partitions_are_refused(tmp_path: Path) -> None:
    SqliteLog(tmp_path, partitions=4).release()
    with pytest.raises(Refused, match="has 4 partitions, 8 were asked for"):
        SqliteLog(tmp_path, partitions=8)
    SqliteLog(tmp_path, partitions=4).release()


@pytest.mark.parametrize(("durability", "synchronous"), [("process", 1), ("power", 2)])
def test_the_durability_is_that_which_was_asked(
    tmp_path: Path, durability: Durability, synchronous: int
) -> None:
    file = Database(tmp_path / "log.db", "CREATE TABLE t(a)", durability)
    for connection in {file.writer, file.reader}:
        assert connection.pragma("journal_mode") == "wal"
        assert connection.pragma("synchronous") == synchronous
    file.close()


def test_a_durability_that_a_file_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="durability 'none' is not for a file"):
        SqliteLog(tmp_path, "none")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.db").mkdir()
    with pytest.raises(Refused, match=r"log\.db.*let this user write"):
        SqliteLog(tmp_path)


async def test_the_write_ahead_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path, "power")
    for _ in range(60):
        await log.append([replace(PAYMENT, body=bytes(200_000))] * 2)
    assert (tmp_path / "log.db-wal").stat().st_size < 12_000_000 < (tmp_path / "log.db").stat().st_size
    log.release()
