"""FastStream on JetStream or on Redis Streams: one process publishes and takes, its server beside it.

A message is a pydantic model, as its documentation has it. The handler commits a row to SQLite, which a kill does not
undo, and FastStream acknowledges the message after that.
"""

import asyncio
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvloop
from faststream.nats import JStream, NatsBroker
from faststream.redis import RedisBroker, StreamSub
from pydantic import BaseModel

from benchmarks.peers import streams
from benchmarks.peers.streams import AT_ONCE, KEYS, TEXT, Ways

PATIENCE_S = 30.0


class Heard(BaseModel):
    """Something to be kept."""

    key: str
    number: int
    text: str


class Keeper:
    """Keeps the newest text of each key, and tells who waits."""

    def __init__(self, folder: Path) -> None:
        """Open a database as an embedded log at durability process does: WAL, no sync at a commit."""
        self._rows = sqlite3.connect(folder / "keeper.db", isolation_level=None)
        self._rows.execute("PRAGMA journal_mode=WAL")
        self._rows.execute("PRAGMA synchronous=NORMAL")
        self._rows.execute("CREATE TABLE texts(key TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID")
        self.published = self.taken = 0
        self._moved = asyncio.Event()

    async def hear(self, heard: Heard) -> None:
        """Keep it."""
        self._rows.execute("INSERT OR REPLACE INTO texts VALUES(?,?)", (heard.key, heard.text))
        self.taken += 1
        if self.taken == self.published:
            self._moved.set()

    async def settled(self) -> None:
        """Return once all that was published is taken."""
        while self.taken < self.published:
            self._moved.clear()
            await self._moved.wait()


def event(number: int) -> Heard:
    """Return an event of about 300 bytes."""
    return Heard(key=f"k{number % KEYS}", number=number, text=TEXT)


def nats(port: int, keeper: Keeper) -> tuple[Any, Any]:
    """Return a broker, and what publishes an event to a subject of a stream and returns once that has it."""
    broker = NatsBroker(f"nats://127.0.0.1:{port}", logger=None)
    broker.subscriber("heard", stream=JStream("heard"), durable="keeper")(keeper.hear)
    broker.publisher("stored", stream=JStream("stored"))

    async def publish(subject: str, number: int) -> None:
        await broker.publish(event(number), subject, stream=subject, timeout=PATIENCE_S)

    return broker, publish


def redis(port: int, keeper: Keeper) -> tuple[Any, Any]:
    """Return a broker, and what publishes an event to a stream."""
    broker = RedisBroker(f"redis://127.0.0.1:{port}", logger=None, max_connections=2 * AT_ONCE)
    broker.subscriber(stream=StreamSub("heard", group="keeper", consumer="one"))(keeper.hear)

    async def publish(stream: str, number: int) -> None:
        await broker.publish(event(number), stream=stream)

    return broker, publish


async def serve(kind: str, port: int, folder: Path) -> None:
    """Publish, take and measure."""
    keeper = Keeper(folder)
    broker, send = (nats if kind == "nats" else redis)(port, keeper)

    async def publish(number: int) -> None:
        keeper.published += 1
        await send("heard", number)

    async def effect(number: int) -> None:
        await publish(number)
        await keeper.settled()

    async with broker:
        await broker.start()
        await streams.answered(Ways(lambda number: send("stored", number), publish, effect, keeper.settled))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made, streams.server(sys.argv[1], Path(made)) as listening:
        uvloop.run(serve(sys.argv[1], listening, Path(made)))
