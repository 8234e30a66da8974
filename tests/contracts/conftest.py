"""The implementations that the contracts of `allotrope.testing` run over."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from allotrope.logs.memory import MemoryLog
from allotrope.logs.sqlite import SqliteLog
from allotrope.stores.memory import MemoryLedger
from allotrope.stores.postgres import PostgresLedger, Schema
from allotrope.stores.sqlite import SqliteLedger
from allotrope.testing.contracts import Make
from tests import servers
from tests.logs.brokers import KINDS, PARAMETERS, Broker, name_of

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


@pytest.fixture(scope="session")
def opening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Broker]]:
    """Return what gives the server of a kind; each is started once."""
    with contextlib.ExitStack() as running:
        started: dict[str, Broker] = {}

        def on(kind: str) -> Broker:
            if kind not in started:
                started[kind] = running.enter_context(KINDS[kind](tmp_path_factory.mktemp(kind)))
            return started[kind]

        yield on


@pytest.fixture(params=[*LOGS, *PARAMETERS])
def log_make(request: pytest.FixtureRequest, opening: Callable[[str], Broker]) -> tuple[Make, bool]:
    """Return what opens a log in a folder, and whether it keeps anything."""
    if request.param in LOGS:
        return LOGS[request.param], request.param != "memory"
    on = opening(request.param)
    return lambda folder: on.log(name=name_of(folder)), True


@pytest.fixture(
    params=[
        *LEDGERS,
        *(pytest.param(name, marks=pytest.mark.service) for name in ("postgres", "shared postgres")),
    ]
)
def ledger_make(request: pytest.FixtureRequest) -> Iterator[tuple[Make, bool]]:
    """Return what opens a ledger in a folder, and whether it keeps anything."""
    if request.param in LEDGERS:
        yield LEDGERS[request.param], request.param != "memory"
        return
    url, named, shared = servers.postgres(), set[str](), request.param == "shared postgres"

    def make(folder: Path) -> PostgresLedger:
        name = name_of(folder)
        named.add(name)
        return PostgresLedger(Schema(url, url, f"allotrope_{name}"), "power", shared=shared)

    yield make, True
    servers.dropped(named)
