from collections.abc import Callable, Sequence

import pytest

from allotrope.kernel.errors import Refused
from allotrope.logs.memory import MemoryLog
from allotrope.storage.ports import Commit, Entry, Envelope
from allotrope.stores.memory import MemoryLedger
from allotrope.testing.contracts import contract_holds, refused
from allotrope.testing.ledgers import LEDGER
from allotrope.testing.logs import LOG


def test_a_contract_is_held_without_pytest(note: Callable[[str], None]) -> None:
    tried = contract_holds(LOG, lambda folder: MemoryLog(4), durable=False)
    held = contract_holds(LEDGER, lambda folder: MemoryLedger(), durable=False)
    note(f"contracts shipped: {tried} cases for a log, {held} for a ledger")
    assert (tried, held) == (len(LOG), len(LEDGER))
    assert min(tried, held) >= 10


def test_a_log_that_forgets_requests_is_found() -> None:
    class Forgetful(MemoryLog):
        async def append(self, inputs: Sequence[Envelope]) -> list[Entry]:
            return await super().append([Envelope(one.kind, one.key, one.body, one.at) for one in inputs])

    with pytest.raises(AssertionError) as failed:
        contract_holds(LOG, lambda folder: Forgetful(4), durable=False)
    assert "the log does not hold: " in failed.value.__notes__[0]


def test_a_ledger_that_takes_an_effect_twice_is_found() -> None:
    class Greedy(MemoryLedger):
        async def commit(self, effect: Commit) -> bool:
            for table, key, row in effect.writes:
                self._tables.setdefault(table, {})[key] = row
            return await super().commit(effect)

    with pytest.raises(AssertionError) as failed:
        contract_holds(LEDGER, lambda folder: Greedy(), durable=False)
    assert "the ledger does not hold: " in failed.value.__notes__[0]


def test_a_refusal_must_give_the_reason() -> None:
    with refused("closed"):
        raise Refused("the log is closed")
    with pytest.raises(AssertionError, match="not because it is full"), refused("full"):
        raise Refused("the log is closed")
    with pytest.raises(AssertionError, match="not refused"), refused("full"):
        pass
