"""`make bench-restart`: how long a start takes on a long log, and how much memory it has then.

The log is written through its own door, in batches; its origins are finished, as after a clean run. Each start is a
process of its own: the first one has no checkpoint and reads all of the log, the second one has that of a clean stop,
and the third one that of a host that was killed when it had taken so many inputs since.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import uvloop

from allotrope import App, Count, Event, Last, Sum, Table, View, component, compose, days, on
from allotrope.kernel.codec import encode
from allotrope.logs.sqlite import SqliteLog
from allotrope.runtime.host import Host
from allotrope.runtime.keeping.checkpoints import EVERY
from allotrope.runtime.options import Input, Options
from allotrope.storage.ports import Envelope
from allotrope.stores.sqlite import SqliteLedger

SIZES, BATCH, CARDS, DAYS = (1_000, 100_000, 1_000_000), 1_000, 5_000, 100
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = "x" * 200


class Paid(Event, key="card"):
    """A payment; encoded it is about 300 bytes long."""

    card: str
    amount: float
    at: datetime
    text: str


class Spending(View[Paid], at="at"):
    """What a card has paid: of a day, and of all time."""

    count_1d = Count(window=days(1))
    total_1d = Sum("amount", window=days(1))
    total = Sum("amount")
    last = Last("amount")


@component
class Scorer:
    """Keeps what a card had paid before."""

    spending: Spending
    scores: Table[float]

    @on(Paid)
    async def score(self, paid: Paid) -> None:
        """Keep it."""
        before = await self.spending.of(paid.card, paid.at)
        await self.scores.put(paid.card, before.total)


app = App("restart", Spending, Scorer)


def payment(number: int, of: int) -> Paid:
    """Return one of `of` payments that lie evenly in some days."""
    at = BEGIN + timedelta(days=DAYS * number / of)
    return Paid(f"c{number * 7919 % CARDS}", number % 1000 / 10, at, TEXT)


async def write(folder: Path, count: int) -> None:
    """Leave a log of so many payments, all of them finished."""
    log = SqliteLog(folder, owner=app.name)
    await log.open()
    for first in range(0, count, BATCH):
        batch = [payment(number, count) for number in range(first, min(first + BATCH, count))]
        await log.append([Envelope("Paid", p.card, encode(p), at=int(p.at.timestamp() * 1e6)) for p in batch])
    await log.close()
    ledger = SqliteLedger(folder, owner=app.name)
    ledger.finish(count + 1)
    ledger.close()


def memory_mb() -> float:
    """Return the resident memory of this process."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


async def start(folder: Path, then: str) -> None:
    """Start a host, say how long that took, and stop it or end as by kill -9 after some more inputs."""
    began = perf_counter()
    host: Host = compose.build(app, "modular-monolith", folder, Options(ticks=False))
    await host.start()
    print(json.dumps({"ready_s": perf_counter() - began, "memory_mb": memory_mb()}), flush=True)
    if then == "stop":
        await host.drain()
        return
    for number in range(EVERY - 1):
        paid = payment(number, EVERY)
        await host.publish(paid, Input(at=paid.at))
    await host.settled()
    os._exit(0)  # no clean stop: as after a kill


def measured(folder: Path, then: str) -> tuple[float, float]:
    """Return (seconds until a host in a new process is ready, its memory then in MB)."""
    command = [sys.executable, "-m", "benchmarks.restart", str(folder), then]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[0])
    return found["ready_s"], found["memory_mb"]


def main() -> None:
    """Measure and print."""
    print(f"Starts on a log of payments of {CARDS:,} cards in {DAYS} days; a view of a day and of all time")
    print(f"{'events':>10}  {'checkpoint':<34}{'ready':>9}{'memory':>10}")
    for count in SIZES:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "app"
            folder.mkdir()
            uvloop.run(write(folder, count))
            kinds = (
                ("none: all of the log is read", "stop"),
                ("of a clean stop", "kill"),
                (f"of a kill, {EVERY - 1:,} inputs before", "stop"),
            )
            for kind, then in kinds:
                seconds, memory = measured(folder, then)
                print(f"{count:>10,}  {kind:<34}{seconds:>7.2f} s{memory:>7.0f} MB", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        asyncio.run(start(Path(sys.argv[1]), sys.argv[2]))
    else:
        main()
