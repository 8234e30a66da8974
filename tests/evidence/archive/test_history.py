"""What is read beside a host: by origin and by request id, also after a power cut."""

from pathlib import Path

from msgspec.structs import replace

from allotrope.evidence.archive.history import History
from allotrope.kernel.codec import encode
from allotrope.logs.sqlite import SqliteLog
from allotrope.runtime.records import Record
from allotrope.storage.ports import Commit, Envelope
from allotrope.stores.sqlite import SqliteLedger

DAY = 86_400_000_000
RECORD = Record("A.on", 1, "", 0, 0, "", "", "", "Payment", b"", (), (), (), b"")
PAYMENT = Envelope("Payment", "card", b"body", 1_700_000_000_000_000)


async def test_a_request_is_found_by_its_id_today_and_later(tmp_path: Path) -> None:
    SqliteLedger(tmp_path).close()
    log = SqliteLog(tmp_path)
    old = replace(PAYMENT, at=PAYMENT.at - 2 * DAY)
    await log.append([replace(old, request=f"old {number}") for number in range(1000)])
    asked = ["r", "r1", "r10", "r", "", "r1", *(f"s{number}" for number in range(1005))]
    await log.append([replace(PAYMENT, request=id, tenant=f"t{place}") for place, id in enumerate(asked)])
    ((left,),) = log._file.rows("SELECT count(*) FROM requests")
    history = History(tmp_path)
    found = [history.of_request(id) for id in ("r", "r1", "r10", "old 7", "none")]
    assert found == [[1001, 1004], [1002, 1006], [1003], [8], []]
    assert left < 1100  # `old 7` is not among the names any more
    history.close()
    log.release()


async def test_events_are_found_after_a_power_cut(tmp_path: Path) -> None:
    """Origins jump then, positions do not."""
    SqliteLedger(tmp_path).close()
    SqliteLog(tmp_path).release()
    (tmp_path / "log.lock").write_text("1 another-boot process")
    log = SqliteLog(tmp_path)
    (entry,) = await log.append([PAYMENT])
    history = History(tmp_path)
    assert history.events(entry.envelope.origin) == [entry.envelope]
    history.close()
    log.release()


async def test_an_app_that_lives_below_is_another_one(tmp_path: Path) -> None:
    for place in ("here", "here/unit", "here/other"):
        ledger = SqliteLedger(tmp_path / place)
        await ledger.commit(Commit("A.on", 1, f"/{place}", record=encode(RECORD)))
        ledger.close()
    SqliteLog(tmp_path / "here").release()
    SqliteLog(tmp_path / "here" / "other").release()
    history = History(tmp_path / "here")
    assert (len(history.records(1)), history.kept()) == (2, (0, 2, 1, 1))
    history.close()
