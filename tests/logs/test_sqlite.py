"""What only the log in a file does: request ids are pruned, origins survive a power cut."""

import re
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from allotrope.kernel.errors import Refused
from allotrope.logs.sqlite import SqliteLog
from allotrope.storage.ports import Envelope

DAY = 86_400_000_000
PAYMENT = Envelope("Payment", "card", b"body", 1_700_000_000_000_000)


async def test_request_ids_are_forgotten_after_a_day(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    for day in range(4):
        at = PAYMENT.at + day * DAY
        await log.append([replace(PAYMENT, at=at, request=f"{day}/{number}") for number in range(1500)])
    ((kept,),) = log._file.rows("SELECT count(*) FROM requests")
    assert kept < 3000
    log.release()


@pytest.mark.parametrize("appended", [True, False])
async def test_origins_lost_in_a_power_cut_are_not_given_again(tmp_path: Path, *, appended: bool) -> None:
    """The ledger may have their effects: another input of the same origin would pass for done."""
    log = SqliteLog(tmp_path / "live")
    await log.append([PAYMENT] * 3)
    shutil.copytree(tmp_path / "live", tmp_path / "cut")
    await log.append([PAYMENT] * 3)
    log.release()
    (tmp_path / "cut" / "log.lock").write_text("1 another-boot process")
    log = SqliteLog(tmp_path / "cut")
    if appended:
        (entry,) = await log.append([PAYMENT])
        assert (entry.position, entry.envelope.origin) == (4, 1_000_000_004)
    log.release()
    log = SqliteLog(tmp_path / "cut")
    (entry,) = await log.append([PAYMENT])
    assert entry.envelope.origin == 1_000_000_004 + appended
    log.release()


async def test_after_a_kill_the_origins_go_on(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "live")
    await log.append([PAYMENT] * 3)
    shutil.copytree(tmp_path / "live", tmp_path / "killed")
    log.release()
    log = SqliteLog(tmp_path / "killed")
    assert (await log.append([PAYMENT]))[0].envelope.origin == 4
    log.release()


async def test_what_a_lost_effect_had_published_is_not_stored_twice(tmp_path: Path) -> None:
    """A power cut may take the newest commits of the ledger and leave their events here: they come once more."""
    log = SqliteLog(tmp_path)
    await log.append([PAYMENT] * 2)
    first = replace(PAYMENT, origin=1, path="/Scorer.score#000")
    await log.relay("shop", [(1, first)])
    log.release()
    (tmp_path / "log.lock").write_text("1 another-boot process")
    SqliteLog(tmp_path).release()  # it dies before anything comes
    log = SqliteLog(tmp_path)
    second, (new,) = replace(first, origin=2), await log.append([PAYMENT])
    later = replace(first, origin=new.envelope.origin)
    await log.relay("shop", [(1_000_000_001, first), (1_000_000_002, second), (1_000_000_003, later)])
    await log.relay("shop", [(1_000_000_001, first)])
    stored = [entry.envelope.origin for entry in await log.read() if entry.envelope.path]
    assert stored == [1, 2, new.envelope.origin]
    log.release()


def test_a_log_belongs_to_one_app(tmp_path: Path) -> None:
    SqliteLog(tmp_path).release()  # of no app in particular, as older files are
    SqliteLog(tmp_path, owner="shop").release()
    SqliteLog(tmp_path, owner="shop").release()
    said = f"{tmp_path}: log.db there is of the app `shop`, and `fraud` would take up its events; give `fraud` another"
    with pytest.raises(Refused, match=re.escape(said)):
        SqliteLog(tmp_path, owner="fraud")
