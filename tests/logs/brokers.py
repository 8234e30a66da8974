"""The logs on servers, each with a server of its own, or a name of its own on one that is shared."""

import contextlib
import secrets
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from allotrope.logs.kafka import KafkaServer
from allotrope.logs.nats import NatsServer
from allotrope.logs.postgres import PostgresServer
from allotrope.logs.redis import RedisServer
from allotrope.logs.remote import RemoteLog
from allotrope.logs.server import Server
from tests import servers


class Broker:
    """A server on which logs may be opened. `bounce` ends it in the middle of whatever it does, and starts it again."""

    def __init__(self, port: int, made: Callable[[int, str], Server], bounce: Callable[[], None]) -> None:
        self.port, self.made, self.bounce = port, made, bounce
        self.named: set[str] = set()
        self._own = f"t{secrets.token_hex(4)}"

    def log(self, port: int = 0, name: str = "") -> RemoteLog:
        """Return a log, not yet open; over another port where a line is to be cut."""
        name = name or self._own
        self.named.add(name)
        return RemoteLog(self.made(port or self.port, name), "process", 4, "shop")


@contextlib.contextmanager
def _nats(folder: Path) -> Iterator[Broker]:
    with servers.nats_server(folder) as server:

        def made(port: int, name: str) -> Server:
            return NatsServer(f"nats://127.0.0.1:{port}", f"nats://127.0.0.1:{port} {name}", name)

        yield Broker(server.port, made, lambda: (server.kill(), server.start())[1])


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[Broker]:
    with servers.redis_server(folder) as server:

        def made(port: int, name: str) -> Server:
            url = f"redis://127.0.0.1:{port}"
            return RedisServer(url, f"{url} {name}", name, "process")

        yield Broker(server.port, made, lambda: (server.kill(), server.start())[1])


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[Broker]:
    login, _, rest = servers.postgres().rpartition("@")
    port = int(rest.partition(":")[2].partition("/")[0])

    def made(port: int, name: str) -> Server:
        url = f"{login}@127.0.0.1:{port}/{rest.partition('/')[2]}"
        return PostgresServer(url, f"{url} {name}", name, "power")

    def bounce() -> None:  # the server is not ours to kill: its sessions are
        servers.ended(broker.named)

    broker = Broker(port, made, bounce)
    yield broker
    servers.dropped(broker.named)


@contextlib.contextmanager
def _kafka(folder: Path) -> Iterator[Broker]:
    with servers.kafka_mock() as mock:

        def made(port: int, name: str) -> Server:
            url = f"kafka://127.0.0.1:{port}"
            return KafkaServer(url, f"{url} {name}", name)

        yield Broker(
            mock.port, made, mock.bounce
        )  # clients go where the mock says that it is, so no line to it can be cut


KINDS = {"nats": _nats, "redis": _redis, "postgres": _postgres, "kafka mock": _kafka}
MOCK = pytest.param("kafka mock", marks=[pytest.mark.service, pytest.mark.long])  # its groups take seconds
BREAKABLE = [pytest.param(kind, marks=pytest.mark.service) for kind in KINDS if kind != "kafka mock"]
PARAMETERS = [*BREAKABLE, MOCK]


def name_of(folder: Path) -> str:
    """Return a name for the log of a folder."""
    return f"t{zlib.crc32(str(folder).encode()):08x}"
