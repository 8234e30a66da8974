"""What was removed on purpose is passed over; what is missing beside it is damage."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from allotrope.kernel.errors import Corrupted
from allotrope.logs.sqlite import SqliteLog
from allotrope.storage.ports import Envelope

PAYMENT = Envelope("Paid", "a", b"body", 1_700_000_000_000_000)


async def shortened(folder: Path) -> SqliteLog:
    """Return a log of 20 entries from which those at 3, 6, 9, ... and all below 6 have been removed."""
    log = SqliteLog(folder)
    await log.append(
        [replace(PAYMENT, kind="Old" if n % 3 == 0 else "Paid", at=PAYMENT.at + n) for n in range(1, 21)]
    )
    while await log.shorten(21, {"Old": PAYMENT.at + 100}, limit=2):
        pass
    while await log.shorten(6, {"Paid": PAYMENT.at + 100}, limit=1):
        pass
    return log


async def test_ranges_grow_together(tmp_path: Path) -> None:
    log = await shortened(tmp_path)
    assert [entry.position for entry in await log.read()] == [n for n in range(7, 21) if n % 3]
    gaps = log._file.rows("SELECT first,last FROM gaps ORDER BY first")
    assert gaps == [(1, 6), (9, 9), (12, 12), (15, 15), (18, 18)]
    await log.close()


@pytest.mark.parametrize(
    ("damage", "position"),
    [
        ("DELETE FROM entries WHERE position=10", 9),
        ("DELETE FROM entries WHERE position=14", 14),
        ("UPDATE gaps SET last=11 WHERE first=9; DELETE FROM entries WHERE position IN (10,11)", 9),
        ("DELETE FROM gaps WHERE first=1", 1),
    ],
)
async def test_what_is_missing_beside_them_is_damage(tmp_path: Path, damage: str, position: int) -> None:
    log = await shortened(tmp_path)
    log._file.write(lambda: log._file.writer.execute(damage))
    with pytest.raises(Corrupted, match=f"entry {position} is damaged, it is missing"):
        await log.read()
    await log.close()
