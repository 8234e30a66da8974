"""`make soak`: the fraud example under microservices for ten minutes of mixed load, and what each process still holds.

The load is open: each request is sent when it is due, whatever comes back. Customers, terminals and the time that
payments have move so that windows and open cases keep their size; what is kept for good (log, decisions, ids of
payments) grows on disk alone. So memory has to stay as it is: a slope, descriptors or tasks that grow are a leak.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import linear_regression

import httpx
from rich.console import Console
from rich.table import Table

from allotrope.compose.gates import CALLERS
from allotrope.evidence.inputs import Publish
from allotrope.gateway.access.keys import made
from benchmarks.rounds import machine
from benchmarks.soak.load import Load
from benchmarks.soak.watch import Held, Served
from examples import fraud
from examples.fraud.events import Promoted

SLOPE, WARM = 1.0, 0.2  # MiB a minute at most; the share of the time before it is measured
LOOK_S = 2.0
MISSED = 0.1  # share of the load that may stay unsent

Samples = list[tuple[float, dict[str, Held]]]


async def soaked(served: Served, load: Load, seconds: float) -> Samples:
    """Load the app for so long; return what was held, by minutes, after the warm-up."""
    samples: Samples = []
    running = asyncio.create_task(load.run(seconds))
    begun = time.monotonic()
    while not running.done():
        await asyncio.wait((running,), timeout=LOOK_S)
        passed = time.monotonic() - begun
        if WARM * seconds <= passed <= seconds:
            samples.append((passed / 60, await served.held()))
    await running
    return samples


def slope(samples: Samples, name: str, what: str) -> float:
    """Return by how many MiB a minute a process grew, by least squares."""
    pairs = [(at, getattr(found[name], what)) for at, found in samples if name in found]
    return linear_regression(*zip(*pairs, strict=True)).slope if len(pairs) > 1 else 0.0


def judged(samples: Samples, before: dict[str, Held], after: dict[str, Held]) -> tuple[Table, list[str]]:
    """Return a table of all processes, and what is wrong."""
    table = Table(title="Each process under load, and idle before and after", title_justify="left")
    for heading in ("", "RSS MiB", "PSS MiB", "RSS MiB/min", "PSS MiB/min", "files", "tasks", "threads"):
        table.add_column(heading, justify="right" if heading else "left")
    wrong = [f"{name} has ended" for name in before.keys() - after.keys()]
    wrong += [f"{name} was not there before" for name in after.keys() - before.keys()]
    for name in sorted(before.keys() & after.keys()):
        one, other = before[name], after[name]
        grown = slope(samples, name, "rss"), slope(samples, name, "pss")
        tasks = "" if one.tasks is None else f"{one.tasks} {other.tasks}"
        table.add_row(
            name, f"{one.rss:.1f} {other.rss:.1f}", f"{one.pss:.1f} {other.pss:.1f}",
            *(f"{each:+.3f}" for each in grown),
            f"{one.files} {other.files}", tasks, f"{one.threads} {other.threads}",
        )  # fmt: skip
        if max(grown) > SLOPE:
            wrong.append(f"{name} grows by {max(grown):.2f} MiB a minute; {SLOPE:g} are allowed")
        if other.files > one.files:
            wrong.append(f"{name} has {other.files} open files, it had {one.files}")
        if (other.tasks or 0) > (one.tasks or 0):
            wrong.append(f"{name} has {other.tasks} tasks, it had {one.tasks}")
    return table, wrong


async def soak(folder: Path, seconds: float) -> int:
    """Run it, print what was found, and return the exit code."""
    served = Served(folder)
    key = made(served.kept / CALLERS, "soak", "", ("*",))
    async with served.running():
        load = Load(served.port, key)
        async with load.clients() as http:
            await promoted(http)
            await load.run(10.0)  # whatever is opened at its first use is there from now on
        before = await served.idle()
        load.ended.clear()
        async with load.clients():
            samples = await soaked(served, load, seconds)
        after = await served.idle()
    table, wrong = judged(samples, before, after)
    missed = sum(count for name, count in load.ended.items() if name.endswith("not sent"))
    if missed > MISSED * load.ended.total():
        wrong.append(f"{missed:,} of {load.ended.total():,} requests were not sent: the machine is too busy")
    console = Console(width=120)
    console.print(table)
    for said in (*(f"{name}, {count:,}" for name, count in sorted(load.ended.items())), machine()):
        console.print(said, highlight=False, soft_wrap=True)
    for said in wrong:
        console.print(f"WRONG: {said}", style="red", soft_wrap=True)
    return 1 if wrong else 0


async def promoted(http: httpx.AsyncClient) -> None:
    """Let a small model decide, so that there are cases to settle."""
    events = (
        (given.event for given in fraud.app.sample(0) if isinstance(given, Publish))
        if fraud.app.sample
        else ()
    )
    event = next(event for event in events if isinstance(event, Promoted))
    body = {name: getattr(event, name) for name in event.__struct_fields__}
    (await http.post("/events/Promoted", json=body)).raise_for_status()


def main() -> None:
    """Soak for so many seconds."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    with tempfile.TemporaryDirectory() as name:
        sys.exit(asyncio.run(soak(Path(name), seconds)))


if __name__ == "__main__":
    main()
