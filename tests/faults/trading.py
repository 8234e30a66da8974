"""One life of some trades, to be killed: it begins them, lets their time pass, and pokes who has not answered.

`python -m tests.faults.trading FOLDER TOPOLOGY SEED LIFE` sends again what an earlier life has sent, under the same
request ids, and writes down what is there once all has settled.
"""

import asyncio
import contextlib
import sys
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from allotrope.compose import build, document
from allotrope.kernel import codec
from allotrope.kernel.errors import Lost, Overloaded
from allotrope.kernel.messages import Event
from allotrope.kernel.views import micros
from allotrope.modules.processes.api import Instance
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from tests.faults.trade import HOUR, Begun, Poked, app

START = datetime(2024, 1, 1, tzinfo=UTC)
TRADES = 24
MANNERS = ("ok", "ok", "ok", "twice", "no", "late", "mute")


class Found(msgspec.Struct):
    """What became of one trade: by step what was done, how it has ended, and how often that was said."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    status: str
    heard: tuple[str, ...]


def manners(seed: int) -> dict[str, tuple[str, str, str]]:
    """Return some trades and how each of their steps is answered; the last step has no undo, and is never mute."""
    every = list(product(MANNERS, MANNERS, MANNERS[:-1]))
    return {f"t{number}": Random(f"{seed} {number}").choice(every) for number in range(TRADES)}


async def sent(host: Host, event: Event, request: str) -> None:
    """Send an event until it is accepted."""
    while True:
        with contextlib.suppress(Lost, Overloaded):
            await host.publish(event, Input(request=request))
            return


async def life(host: Host, folder: Path, seed: int, number: int) -> None:
    """Live through all that happens to the trades."""
    trades = manners(seed)
    names = list(trades)
    await asyncio.gather(*(sent(host, Begun(name, trades[name]), name) for name in names[:4]))
    (folder / "armed").touch()
    await asyncio.gather(*(sent(host, Begun(name, trades[name]), name) for name in names[4:]))
    await host.settled()
    await host.tick("Trade.expire", micros(START + (1 + number) * HOUR))
    await asyncio.gather(*(sent(host, Poked(name), f"poke {name} {number}") for name in names))
    await host.settled()
    await host.site.flushed()


async def end(host: Host) -> dict[str, Found]:
    """Return what became of every trade."""
    kept = (await host.site.contents()).tables

    def rows(table: str, kind: Any) -> dict[str, Any]:
        return {key: codec.decode(row, kind) for key, row in kept.get(table, {}).items()}

    ended = rows("Trade.ended", Instance)
    lists = [rows(table, tuple[str, ...]) for table in ("Left.acts", "Right.acts", "Ears.heard")]
    found = {
        name: Found(lists[0].get(name, ()), lists[1].get(name, ()), one.status, lists[2].get(name, ()))
        for name, one in ended.items()
    }
    return found | {
        name: Found((), (), one.status, ()) for name, one in rows("Trade.alive", Instance).items()
    }


async def main() -> None:
    """Live."""
    folder, topology, seed, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    options = Options(ticks=False, now=lambda: micros(START))
    host = build(app, document(topology), folder / "kept", options)
    await host.start()
    await life(host, folder, seed, number)
    found = await end(host)
    await host.close()
    (folder / "end").write_bytes(msgspec.json.encode(found))


if __name__ == "__main__":
    asyncio.run(main())
