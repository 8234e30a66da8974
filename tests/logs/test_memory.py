"""What only the log in memory does: it is bounded, and it does not wait."""

import pytest
from msgspec.structs import replace

from allotrope.logs.memory import MemoryLog
from allotrope.storage.ports import Envelope

PAYMENT = Envelope("Payment", "card", b"body", 1)


async def test_the_newest_entries_are_kept() -> None:
    log = MemoryLog(keep=10)
    for number in range(25):
        await log.append([replace(PAYMENT, request=str(number))])
    assert [entry.position for entry in await log.read()] == list(range(16, 26))
    assert [entry.position for entry in await log.read(20, 2)] == [20, 21]
    assert (await log.append([replace(PAYMENT, request="20")]))[0].position == 21
    assert (await log.append([replace(PAYMENT, request="3")]))[0].position == 26


def test_an_append_does_not_suspend() -> None:
    """So a caller without a task of its own needs none, and nobody comes in between."""
    appending = MemoryLog().append([PAYMENT])
    with pytest.raises(StopIteration) as done:
        appending.send(None)
    assert done.value.value[0].envelope.origin == 1
