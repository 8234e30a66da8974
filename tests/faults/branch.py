"""One life of the bank, to be killed: its clients write down what they do, and what is there at the end is written too.

`python -m tests.faults.branch FOLDER TOPOLOGY [UNIT]` goes on where the last life ended: each client sends what it has
no answer for again, under the same request id, then the rest. With a unit, that gets one replica more on the way.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from allotrope.cli.fleet.scale import scale
from allotrope.compose import build, document
from allotrope.kernel import codec
from allotrope.kernel.errors import Lost, Overloaded
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from allotrope.storage.ports import Entry
from allotrope.testing.history import Diary, Mark, log_marks, marks_of
from tests.faults.bank import Booked, Deposit, app

ACCOUNTS, NUMBERS = 4, 24
HALFWAY = NUMBERS // 3
AFTER, MOST = 6, 2000  # how many more there are after partitions have moved, and at most before
LEADS = {"log": ("booked",), "booked": ("published",), "published": ("heard",)}


class End(msgspec.Struct, frozen=True):
    """What is there once all has settled: by place, and what the view has counted by account."""

    settled: float
    marks: list[Mark]
    counts: dict[str, int]


class Life:
    """One life of all clients."""

    def __init__(self, host: Host, folder: Path, unit: str) -> None:
        self.host, self.folder, self.unit = host, folder, unit
        self.changed: asyncio.Task[None] | None = None
        known = Diary.read(lines(folder))
        self.done = {given for act in known if act.end == "ok" for given in act.appends}
        self._file = os.open(folder / "acts", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.diary = Diary(lambda line: os.write(self._file, line))

    async def client(self, account: int) -> None:
        """Send the deposits of one account in order, every third one as a command, half of which read another one."""
        number = until = 0
        while number < max(until, NUMBERS) or (self.waits and number < MOST):
            if self.waits:  # the fault falls into work only while there is any
                until = number + AFTER
            if number == HALFWAY and account == 0:
                self.arm()
            value = (f"a{account}", str(number))
            while value not in self.done:
                with contextlib.suppress(Lost, Overloaded), self.diary.act(f"c{account}", value) as reads:
                    await self.send(account, number, reads)
                    self.done.add(value)
                if value not in self.done:
                    await asyncio.sleep(0.01)  # a client that is turned away does not come back at once
            number += 1

    @property
    def waits(self) -> bool:
        """Return whether partitions are to move, and nothing has happened yet."""
        return bool(self.unit) and not (self.folder / "hit").exists()

    async def send(self, account: int, number: int, reads: dict[str, tuple[str, ...]]) -> None:
        """Send one, and note what its answer tells."""
        name, other = f"a{account}", f"a{(account + 1) % ACCOUNTS}"
        given = Input(request=f"{name}/{number}")
        if number % 3:
            await self.host.publish(Deposit(name, number), given)
        elif number % 2:
            _, said = await self.host.tell("Teller.pay", (name, number), given)
            reads[name] = tuple(map(str, said.own))
        else:
            _, said = await self.host.tell("Teller.compare", (name, number, other), given)
            reads |= {name: tuple(map(str, said.own)), other: tuple(map(str, said.other))}

    def arm(self) -> None:
        """Let the fault happen from now on; move partitions where that is wanted."""
        (self.folder / "armed").touch()
        if self.unit:
            change = asyncio.to_thread(scale, self.unit, 2, folder=self.folder / "kept")
            self.changed = asyncio.ensure_future(change)

    async def end(self) -> End:
        """Return all that there is, once everything has had its effect."""
        await self.host.settled()
        if self.changed is not None:
            await self.changed
        await self.host.site.flushed()
        settled, kept = time.monotonic(), await self.host.site.contents()
        marks = await log_marks(self.host.log, marked)
        for place, table in (("booked", "Teller.accounts"), ("heard", "Auditor.heard")):
            rows = {key: codec.decode(row, tuple[int, ...]) for key, row in kept.tables[table].items()}
            marks += marks_of(place, rows)
        counts = {key: codec.decode(row)["count"] for key, row in kept.views["Deposits"].items()}
        return End(settled, marks, counts)


def marked(entry: Entry) -> Mark | None:
    """Return the value of an entry of the log, None for the log's own notes."""
    envelope = entry.envelope
    if envelope.kind == "Booked":
        booked = codec.decode(envelope.body, Booked)
        return Mark("published", booked.account, str(booked.number), entry.position)
    key, _, value = envelope.request.partition("/")  # a command without a key is about one, too
    return Mark("log", key, value, entry.position) if value else None


def lines(folder: Path) -> Iterator[bytes]:
    """Yield what the clients of all lives have written."""
    with contextlib.suppress(FileNotFoundError), (folder / "acts").open("rb") as file:
        yield from file


async def main() -> None:
    """Live."""
    folder, topology, unit = Path(sys.argv[1]), sys.argv[2], (sys.argv[3:] or [""])[0]
    host = build(app, document(topology), folder / "kept", Options(ticks=False))
    await host.start()
    life = Life(host, folder, unit)
    await asyncio.gather(*map(life.client, range(ACCOUNTS)))
    end = await life.end()
    await host.close()
    (folder / "end").write_bytes(msgspec.json.encode(end))


if __name__ == "__main__":
    asyncio.run(main())
