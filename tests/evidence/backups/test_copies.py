"""Copies of files that are larger than a cache, and of what is in their write-ahead files only."""

from pathlib import Path

from allotrope.evidence.backups.backup import Wanted, saved
from allotrope.evidence.backups.cuts import copied
from allotrope.evidence.backups.restore import Until, restored
from allotrope.logs.sqlite import SqliteLog
from allotrope.storage.ports import Commit, Envelope
from allotrope.stores.sqlite import SqliteLedger


def silent(what: str, done: int, total: int) -> None:
    pass


async def test_a_large_ledger_is_copied_while_it_is_open(tmp_path: Path) -> None:
    log, ledger = SqliteLog(tmp_path / "app", owner="a"), SqliteLedger(tmp_path / "app", owner="a")
    inputs = [Envelope("Paid", f"k{number}", b"", 1_700_000_000_000_000) for number in range(900)]
    for entry in await log.append(inputs):
        row = ("Bank.rows", entry.envelope.key, bytes(10_000))
        await ledger.commit(Commit("Bank.take", entry.envelope.origin, "", (row,)))
        if entry.position % 300 == 0:
            made = saved(tmp_path / "app", tmp_path / "b", Wanted(), silent)
    assert made.backup.manifest.origin == 900
    restored(tmp_path / "b", tmp_path / "back", Until(), silent)
    with copied(tmp_path / "back", ["ledger.db"]) as files:
        assert files.ledgers["ledger.db"].execute("SELECT count(*) FROM rows").fetchall() == [(900,)]
    ledger.close()
    log.release()
