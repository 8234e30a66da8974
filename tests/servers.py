"""Servers for tests: each started here on a port and in a folder of its own, so that it may be killed and set up.

PostgreSQL does not run as root, so the one of this machine is used, with a schema for each test. Where a server cannot
be had, a test is skipped and says so, or fails under ALLOTROPE_SERVICES=required.
"""

import asyncio
import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

POSTGRES = os.environ.get("ALLOTROPE_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")


def missing(what: str) -> Any:
    """Skip for want of a server, or fail where none may be missing."""
    if os.environ.get("ALLOTROPE_SERVICES") == "required":
        pytest.fail(f"no {what} here")
    pytest.skip(f"no {what} here")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Process:
    """A server of ours: it may be killed and started again on what it has kept."""

    def __init__(self, command: list[str], port: int) -> None:
        self.port, self._command = port, command
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._running = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)  # a port has no event to wait for
        raise AssertionError(f"{self._command[0]} does not answer")

    def kill(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None


@contextlib.contextmanager
def nats_server(folder: Path, *more: str) -> Iterator[Process]:
    """Run a NATS server with JetStream."""
    program = shutil.which("nats-server") or missing("nats-server")
    port = free_port()
    command = [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder), *more]
    yield from _running(command, port)


@contextlib.contextmanager
def redis_server(folder: Path, *more: str) -> Iterator[Process]:
    """Run a Redis that keeps what it is told in an append-only file."""
    program = shutil.which("redis-server") or missing("redis-server")
    port = free_port()
    folder.mkdir(exist_ok=True)
    command = [
        program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "",
        "--appendonly", "yes", "--appendfsync", "everysec", *more,
    ]  # fmt: skip
    yield from _running(command, port)


def _running(command: list[str], port: int) -> Iterator[Process]:
    process = Process(command, port)
    process.start()
    try:
        yield process
    finally:
        process.kill()


def postgres() -> str:
    """Return the address of the PostgreSQL of this machine."""
    import asyncpg

    async def asked() -> None:
        await (await asyncpg.connect(POSTGRES, timeout=5)).close()

    try:
        asyncio.run(asked())
    except (OSError, asyncpg.PostgresError, TimeoutError):
        missing("PostgreSQL")
    return POSTGRES


class Mock:
    """The mock cluster inside librdkafka: it speaks Kafka's protocol, and is no Kafka."""

    def __init__(self) -> None:
        confluent_kafka = pytest.importorskip("confluent_kafka")
        (library,) = (
            Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs").glob("librdkafka*")
        )
        self._calls = calls = ctypes.CDLL(str(library))
        for name in ("rd_kafka_new", "rd_kafka_mock_cluster_new"):
            getattr(calls, name).restype = ctypes.c_void_p
        calls.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        self._client = ctypes.c_void_p(calls.rd_kafka_new(0, None, None, 0))
        self._cluster = ctypes.c_void_p(calls.rd_kafka_mock_cluster_new(self._client, 1))
        calls.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.port = int(calls.rd_kafka_mock_cluster_bootstraps(self._cluster).rpartition(b":")[2])

    def bounce(self) -> None:
        """Cut all connections, and take new ones a little later."""
        self._calls.rd_kafka_mock_broker_set_down(self._cluster, 1)
        threading.Timer(0.3, self._calls.rd_kafka_mock_broker_set_up, (self._cluster, 1)).start()

    def fail_next(self, request: int, error: int) -> None:
        """Answer the next request of a kind with an error."""
        self._calls.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(request), ctypes.c_size_t(1), (ctypes.c_int * 1)(error)
        )

    def close(self) -> None:
        self._calls.rd_kafka_mock_cluster_destroy(self._cluster)
        self._calls.rd_kafka_destroy(self._client)


@contextlib.contextmanager
def kafka_mock() -> Iterator[Mock]:
    """Run the mock cluster."""
    mock = Mock()
    try:
        yield mock
    finally:
        mock.close()


def dropped(names: Iterable[str]) -> None:
    """Remove what logs and ledgers of these names have in PostgreSQL."""
    import asyncpg

    async def drop() -> None:
        session = await asyncpg.connect(POSTGRES, timeout=5)
        for name in names:
            await session.execute(f'DROP SCHEMA IF EXISTS "allotrope_{name}" CASCADE')
        await session.close()

    asyncio.run(drop())


def ended(names: Iterable[str]) -> None:
    """End every session that holds a log or ledger of these names, in the middle of whatever it does."""
    import asyncpg

    async def end() -> None:
        session = await asyncpg.connect(POSTGRES, timeout=5)
        for name in names:
            await session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype='advisory' AND "
                f"(classid::bigint<<32|objid::bigint) IN (hashtextextended('\"allotrope_{name}\".log',0),"
                f"hashtextextended('\"allotrope_{name}\"',1))"
            )
        await session.close()

    thread = threading.Thread(target=lambda: asyncio.run(end()))  # beside the loop of the test
    thread.start()
    thread.join()
