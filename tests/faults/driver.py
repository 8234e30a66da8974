"""A small life of log and ledger, to be killed: some clients, one relay, a word on the pipe for each promise.

`python -m tests.faults.driver FOLDER DURABILITY` goes on where the last life ended. Each client sends its
numbers in order, the next one once the last is answered, and repeats what was not with the same request id.
"""

import asyncio
import os
import sys

from allotrope.kernel.tables import Durability
from allotrope.logs.sqlite import SqliteLog
from allotrope.storage import files
from allotrope.storage.ports import Commit, Entry, Envelope
from allotrope.stores.sqlite import SqliteLedger
from allotrope.testing import faults

CLIENTS = 3
NUMBERS = 40
CONSUMER = "Counter.count"
FILLER = bytes(700)  # so that checkpoints come


class Life:
    """One life of the process."""

    def __init__(self, folder: str, durability: Durability) -> None:
        self.log = SqliteLog(folder, durability)
        self.ledger = SqliteLedger(folder, durability)
        self.open: set[int] = set()  # origins at work
        self.relaying = asyncio.Lock()

    async def recover(self) -> None:
        """Do again what the last life may have left undone."""
        done = {origin for _, origin, _ in self.ledger.inbox()}
        entries = [entry for entry in await self.log.read(0, 10**6) if not entry.envelope.path]
        for entry in entries:
            if entry.envelope.origin >= self.ledger.floor() and entry.envelope.origin not in done:
                await self.count(entry)
        self.ledger.finish(max((entry.envelope.origin for entry in entries), default=0) + 1)
        await self.relay()

    async def client(self, name: int) -> None:
        """Send all numbers of one key; those of former lives are answered from the log."""
        for number in range(NUMBERS):
            given = Envelope("Number", f"k{name}", b"%d" % number + FILLER, 1, request=f"{name}/{number}")
            (entry,) = await self.log.append([given])
            tell("append", name, number)
            await self.count(entry)
            tell("commit", name, number)
            await self.relay()
            tell("relay", name, number)
            self.log.acknowledge(CONSUMER, entry.position)

    async def count(self, entry: Entry) -> None:
        """Put the number at the end of its key's row, and publish it."""
        origin, key = entry.envelope.origin, entry.envelope.key
        self.open.add(origin)
        row = self.ledger.get("numbers", key) or b""
        number = entry.envelope.body[: -len(FILLER)]
        counted = Envelope("Counted", key, number + FILLER, 1, origin, f"/{CONSUMER}#000")
        rows = (("numbers", key, row + number + b" "),)
        await self.ledger.commit(
            Commit(CONSUMER, origin, "", rows, (counted,), entry.envelope.request, number)
        )
        self.open.discard(origin)
        self.ledger.finish(min(self.open, default=origin))

    async def relay(self) -> None:
        """Hand the outbox to the log."""
        async with self.relaying:
            while numbered := self.ledger.outbox(2):
                await self.log.relay("ledger", numbered)
                await self.ledger.relayed([number for number, _ in numbered])


def tell(what: str, name: int, number: int) -> None:
    """Acknowledge to the outside world."""
    os.write(1, f"{what} {name} {number}\n".encode())


async def live(folder: str, durability: Durability) -> None:
    """Live to the end, or to the crash."""
    life = Life(folder, durability)
    await life.recover()
    await asyncio.gather(*map(life.client, range(CLIENTS)))
    life.log.release()
    life.ledger.close()


if __name__ == "__main__":
    faults.arm()
    files.CHECKPOINT_PAGES = 25
    asyncio.run(live(sys.argv[1], sys.argv[2]))  # type: ignore[arg-type]  # the test passes one of the levels
