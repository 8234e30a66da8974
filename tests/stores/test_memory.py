"""What only the ledger in memory does: it is bounded, and it does not wait."""

import pytest

from allotrope.storage.ports import Commit
from allotrope.stores.memory import MemoryLedger


async def test_the_newest_records_are_kept() -> None:
    ledger = MemoryLedger(keep=3)
    for origin in range(10):
        await ledger.commit(Commit("A.on", origin, "", record=b"r"))
    assert [origin for _, origin, _, _ in ledger.records()] == [7, 8, 9]


async def test_finished_names_take_no_room() -> None:
    ledger = MemoryLedger()
    for origin in range(1000):
        await ledger.commit(Commit("A.on", origin, ""))
        ledger.finish(origin)
    ledger.finish(10**12)
    assert list(ledger.inbox()) == []
    assert not ledger._inbox


def test_a_commit_does_not_suspend() -> None:
    """So a caller without a task of its own needs none, and nobody comes in between."""
    committing = MemoryLedger().commit(Commit("A.on", 1, ""))
    with pytest.raises(StopIteration):
        committing.send(None)
