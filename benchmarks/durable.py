"""`make bench-durable`: what the modular monolith keeps on disk per second, at each durability.

Events and commands of about 300 bytes come from 64 publishers at once; one is done when its effect is committed, a
command when its reply is. Group commit is on, as always. The disk is that of the temporary folder.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import uvloop

from allotrope import App, Event, Table, command, component, compose, on
from allotrope.kernel.tables import Durability
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from benchmarks.rounds import Row, show

ROUNDS, PUBLISHERS, EACH = 7, 64, 16
TEXT = "x" * 280
LEVELS: tuple[Durability, ...] = ("none", "process", "power")


class Heard(Event, key="key"):
    """Something to be kept; encoded it is 300 bytes long, within a few."""

    key: str
    number: int
    text: str


@component
class Keeper:
    """Keeps the newest text of each key."""

    texts: Table[str]

    @on(Heard)
    async def hear(self, heard: Heard) -> None:
        """Keep it."""
        await self.texts.put(heard.key, heard.text)

    @command(key="key")
    async def keep(self, key: str, number: int, text: str) -> int:
        """Keep it, and say which."""
        await self.texts.put(key, text)
        return number


app = App("durable", Keeper)
One = Callable[
    [int, int], Awaitable[object]
]  # what one publisher does once, given its number and how often before


def opened(level: Durability, folder: Path) -> Host:
    """Return a host of the modular monolith at a durability; not started."""
    file = folder / f"{level}.toml"
    topics = '[topic."*"]\nvia = "memory"\n' if level == "none" else ""
    file.write_text(f'base = "modular-monolith"\ndurability = "{level}"\n{topics}', "utf-8")
    return compose.build(app, str(file), folder / level, Options(ticks=False))


async def _event(host: Host, key: int, number: int) -> None:
    await host.settled(await host.publish(Heard(f"k{key}", number, TEXT)))


async def _command(keeper: Keeper, key: int, number: int) -> None:
    await keeper.keep(f"k{key}", number, TEXT)


async def burst(one: One) -> tuple[float, float]:
    """Return (how many per second of wall time, microseconds of CPU for each) of 64 publishers side by side."""

    async def publisher(key: int) -> None:
        for number in range(EACH):
            await one(key, number)

    wall, cpu = perf_counter(), process_time()
    async with asyncio.TaskGroup() as group:
        for key in range(PUBLISHERS):
            group.create_task(publisher(key))
    done = PUBLISHERS * EACH
    return done / (perf_counter() - wall), (process_time() - cpu) / done * 1e6


def arms(hosts: dict[Durability, Host]) -> dict[tuple[str, str], One]:
    """Return what is measured, by what is sent and durability."""
    found: dict[tuple[str, str], One] = {}
    for level, host in hosts.items():
        found["event", level] = partial(_event, host)
        found["command", level] = partial(_command, host.of(Keeper))
    return found


async def measured(rounds: int) -> tuple[list[Row], list[Row]]:
    """Return the rows on throughput and those on CPU; arms are interleaved, the first round is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        hosts = {level: opened(level, Path(folder)) for level in LEVELS}
        for host in hosts.values():
            await host.start()
        samples: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for _ in range(rounds + 1):
            for name, one in arms(hosts).items():
                samples.setdefault(name, []).append(await burst(one))
        for host in hosts.values():
            await host.drain()
    rates, costs = [], []
    for (what, level), found in samples.items():
        speeds, prices = zip(*found[1:], strict=True)
        rates.append(Row(f"{what}s at durability {level}", "1/s", speeds))
        costs.append(Row(f"an {what}" if what == "event" else f"a {what}", f"us, {level}", prices))
    return rates, costs


async def main() -> None:
    """Measure and print."""
    rates, costs = await measured(ROUNDS)
    show(
        f"Modular monolith, {PUBLISHERS} publishers, {EACH * PUBLISHERS:,} a round: from publishing to effect",
        rates,
    )
    show("The same, CPU of the process, threads of the disk included", costs)


if __name__ == "__main__":
    uvloop.run(main())
