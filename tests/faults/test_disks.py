"""A full disk and a failing disk: one clear error each, and nothing acknowledged is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BEFORE = """
import asyncio, sys
from allotrope.testing import faults
disk = faults.lossy()
from allotrope.kernel.errors import Lost, Refused
from allotrope.storage.ports import Commit, Envelope
from allotrope.logs.sqlite import SqliteLog
from allotrope.stores.sqlite import SqliteLedger
folder, level = sys.argv[1:]
log, ledger = SqliteLog(folder, level), SqliteLedger(folder, level)
def given(size, request=""): return Envelope("P", "k", bytes(size), 1, request=request)
async def refused(kind, work):
    try:
        await work
    except kind as error:
        print(type(error).__name__, error)
    else:
        raise AssertionError("it was not refused")
async def main():
    await log.append([given(10)] * 3)
    await ledger.commit(Commit("A.on", 1, "", (("t", "a", b"1"),)))
"""
FULL = """
    disk.room = 0
    await refused(Refused, log.append([given(100_000, "r")]))
    await refused(Refused, ledger.commit(Commit("A.on", 2, "", (("t", "b", bytes(100_000)),))))
    assert len(await log.read()) == 3 and ledger.get("t", "b") is None
    disk.room = 1 << 30
    entry, = await log.append([given(100_000, "r")])
    assert entry.envelope.origin == entry.position == 4
    await ledger.commit(Commit("A.on", 2, "", (("t", "b", b"2"),)))
    log.release(); ledger.close()
"""
SPACED = """
    file = log._file
    file._next_checkpoint = 30  # it comes when what is written ahead has room, and its copy has not
    for _ in range(10):
        disk.room = 30_000 if file._pages < 25 else 25_000
        await log.append([given(10_000)])
    assert file._next_checkpoint > 1000, "no checkpoint failed"
    disk.room = 1 << 30
    log.release(); ledger.close()
"""
FAILING = """
    disk.failing = True
    results = await asyncio.gather(*(log.append([given(10)]) for _ in range(3)), return_exceptions=True)
    assert all(type(each) is Lost for each in results), results
    print("Lost", results[0])
    disk.failing = False
    await refused(Refused, log.append([given(10)]))
    assert len(await log.read()) == 3 and ledger.get("t", "a") == b"1"
    log.release(); ledger.close()
"""
AFTER = """
asyncio.run(main())
"""
CHECK = """
import asyncio, sys
from allotrope.logs.sqlite import SqliteLog
from allotrope.stores.sqlite import SqliteLedger
log, ledger = SqliteLog(sys.argv[1]), SqliteLedger(sys.argv[1])
print(len(asyncio.run(log.read())), len(list(ledger.scan("t"))))
"""


def told(program: str, folder: Path, level: str) -> list[str]:
    """Return the lines that a program of its own says."""
    command = [sys.executable, "-c", program, str(folder), level]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@pytest.mark.parametrize("level", ["process", "power"])
def test_a_full_disk_refuses_and_recovers(tmp_path: Path, level: str) -> None:
    log, ledger = told(BEFORE + FULL + AFTER, tmp_path, level)
    assert log.startswith(f"Refused {tmp_path}/log.db: the disk is full")
    assert ledger.startswith(f"Refused {tmp_path}/ledger.db: the disk is full")
    assert told(CHECK, tmp_path, level) == ["4 2"]


def test_a_disk_too_full_for_a_checkpoint_does_not_stop_anything(tmp_path: Path) -> None:
    assert told(BEFORE + SPACED + AFTER, tmp_path, "process") == []
    assert told(CHECK, tmp_path, "process") == ["13 1"]


def test_a_failed_sync_stops_the_log(tmp_path: Path) -> None:
    lost, refused = told(BEFORE + FAILING + AFTER, tmp_path, "power")
    assert lost.startswith(f"Lost {tmp_path}/log.db: the disk failed")
    assert "SQLITE_IOERR_FSYNC" in lost
    assert refused.startswith(f"Refused {tmp_path}/log.db: the disk failed")
    entries, rows = told(CHECK, tmp_path, "power")[0].split()
    assert int(entries) >= 3
    assert rows == "1"
