"""The implementations that the contracts of `allotrope.testing` run over."""

import pytest

from allotrope.logs.memory import MemoryLog
from allotrope.logs.sqlite import SqliteLog
from allotrope.stores.memory import MemoryLedger
from allotrope.stores.sqlite import SqliteLedger
from allotrope.testing.contracts import Make

pytest.register_assert_rewrite("allotrope.testing.logs", "allotrope.testing.ledgers")

LOGS: dict[str, Make] = {
    "memory": lambda folder: MemoryLog(partitions=4),
    "process": lambda folder: SqliteLog(folder, "process", 4),
    "power": lambda folder: SqliteLog(folder, "power", 4),
}
LEDGERS: dict[str, Make] = {
    "memory": lambda folder: MemoryLedger(),
    "process": lambda folder: SqliteLedger(folder, "process"),
    "power": lambda folder: SqliteLedger(folder, "power"),
    "shared": lambda folder: SqliteLedger(folder, "process", shared=True),
    "shared power": lambda folder: SqliteLedger(folder, "power", shared=True),
}


@pytest.fixture(params=LOGS)
def log_make(request: pytest.FixtureRequest) -> tuple[Make, bool]:
    """Return what opens a log in a folder, and whether it keeps anything."""
    return LOGS[request.param], request.param != "memory"


@pytest.fixture(params=LEDGERS)
def ledger_make(request: pytest.FixtureRequest) -> tuple[Make, bool]:
    """Return what opens a ledger in a folder, and whether it keeps anything."""
    return LEDGERS[request.param], request.param != "memory"
