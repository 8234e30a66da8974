"""What the contracts run over: each implementation of a port, opened, and opened again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from allotrope.kernel.ports import Ledger, Log
from allotrope.logs.memory import MemoryLog
from allotrope.logs.sqlite import SqliteLog
from allotrope.stores.memory import MemoryLedger
from allotrope.stores.sqlite import SqliteLedger

LEVELS = ("memory", "process", "power")


class Opened:
    """One log or ledger; `again` closes it and opens what it left. Memory leaves nothing."""

    def __init__(self, make: Callable[[], Any], *, durable: bool) -> None:
        self.make, self.durable = make, durable
        self.now = make()

    def again(self) -> Any:
        self.now.close()
        self.now = self.make()
        return self.now


@pytest.fixture(params=LEVELS)
def log_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    level = request.param
    place = Opened(
        (lambda: MemoryLog(partitions=4)) if level == "memory" else (lambda: SqliteLog(tmp_path, level, 4)),
        durable=level != "memory",
    )
    yield place
    place.now.close()


@pytest.fixture(params=LEVELS)
def ledger_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    level = request.param
    place = Opened(
        MemoryLedger if level == "memory" else (lambda: SqliteLedger(tmp_path, level)),
        durable=level != "memory",
    )
    yield place
    place.now.close()


@pytest.fixture
def log(log_place: Opened) -> Log:
    log: Log = log_place.now
    return log


@pytest.fixture
def ledger(ledger_place: Opened) -> Ledger:
    ledger: Ledger = ledger_place.now
    return ledger
