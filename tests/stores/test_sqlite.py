"""What only the ledger in a file does: it is bounded, groups its commits, and survives a power cut."""

import asyncio
import shutil
from pathlib import Path

from allotrope.storage.ports import Commit, Envelope
from allotrope.stores.sqlite import SqliteLedger

DAY = 86_400_000_000
EVENT = Envelope("Scored", "card", b"body", 1, 1, "/p")


async def test_records_and_outcomes_are_bounded(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path, keep=500)
    for day in range(4):
        await asyncio.gather(
            *(
                ledger.commit(
                    Commit("A.on", n, "", request=f"{n}", outcome=b"o", record=b"r", at=day * DAY + n)
                )
                for n in range(day * 1000, day * 1000 + 1000)
            )
        )
    assert [origin for _, origin, _, _ in ledger.records()][-500:] == list(range(3500, 4000))
    for table, bound in (("record", 1500), ("outcome", 2000)):
        ((count,),) = ledger._file.rows(f"SELECT count(*) FROM {table}")
        assert count <= bound
    ledger.close()


async def test_outbox_numbers_lost_in_a_power_cut_are_not_given_again(tmp_path: Path) -> None:
    """The log may have events under them: it would pass over other ones."""
    ledger = SqliteLedger(tmp_path / "live")
    await ledger.commit(Commit("A.on", 1, "", outbox=(EVENT,)))
    shutil.copytree(tmp_path / "live", tmp_path / "cut")
    await ledger.commit(Commit("A.on", 2, "", outbox=(EVENT,)))
    ledger.close()
    (tmp_path / "cut" / "ledger.lock").write_text("1 another-boot process")
    SqliteLedger(tmp_path / "cut").close()
    ledger = SqliteLedger(tmp_path / "cut")
    await ledger.commit(Commit("A.on", 2, "", outbox=(EVENT,)))
    assert [number for number, _ in ledger.outbox()] == [1, 1_000_000_002]
    ledger.close()


async def test_one_turn_of_the_loop_is_one_transaction(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path)
    commits = 0

    def count(*_: object) -> int:
        nonlocal commits
        commits += 1
        return 0

    ledger._file.writer.set_wal_hook(count)
    await asyncio.gather(*(ledger.commit(Commit("A.on", n, "")) for n in range(50)))
    assert commits == 1
    await ledger.commit(Commit("A.on", 51, ""))
    assert commits == 2
    ledger.close()


async def test_a_caller_who_leaves_takes_nothing_with_him(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path, "power")
    tasks = [asyncio.create_task(ledger.commit(Commit("A.on", n, "", record=b"r"))) for n in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(list(ledger.records())) == 3
    ledger.close()
