"""Our events: one process publishes and takes them, under the preset modular-monolith.

Its log is embedded, or on a server beside it; its ledger is embedded.
"""

import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

from allotrope import App, Event, Table, command, component, on
from allotrope.compose import build, fast_loop
from allotrope.runtime.options import Options
from benchmarks.peers import streams
from benchmarks.peers.streams import KEYS, TEXT, Ways


class Heard(Event, key="key"):
    """Something to be kept."""

    key: str
    number: int
    text: str


class Stored(Event, key="key"):
    """Something that nobody takes."""

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
    async def store(self, key: str) -> Stored:
        """Publish what nobody takes; that there is such an event is all that is needed of it."""
        return Stored(key, 0, TEXT)


app = App("published", Keeper)


async def serve(kind: str, level: str, port: int, folder: Path) -> None:
    """Publish, take and measure."""
    topology = folder / "topology.toml"
    log = f'[log]\nkind = "{kind}"\nurl = "{kind}://127.0.0.1:{port}"\n' if port else ""
    topology.write_text(f'base = "modular-monolith"\ndurability = "{level}"\n{log}', "utf-8")
    host = build(app, str(topology), folder / "kept", Options(ticks=False))
    await host.start()

    async def store(number: int) -> None:
        await host.publish(Stored(f"k{number % KEYS}", number, TEXT))

    async def publish(number: int) -> int:
        return await host.publish(Heard(f"k{number % KEYS}", number, TEXT))

    async def effect(number: int) -> None:
        await host.settled(await publish(number))

    try:
        await streams.answered(Ways(store, publish, effect, host.settled))
    finally:
        await host.drain()


def main(kind: str, level: str) -> None:
    """Serve, with a server where the log is on one."""
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        port = 0 if kind == "sqlite" else held.enter_context(streams.server(kind, folder))
        held.enter_context(asyncio.Runner(loop_factory=fast_loop())).run(serve(kind, level, port, folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
