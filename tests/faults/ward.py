"""One life of the ward, to be killed: it parks two keys, fails to bring them back, mends them, and brings them back.

`python -m tests.faults.ward FOLDER` sends what the life before has sent, under the same request ids, and goes on.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from allotrope.compose import build
from allotrope.runtime.doors.redrive import redrive_of
from allotrope.runtime.effects.letters import Search
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from allotrope.testing import faults
from tests.runtime.effects.ward import Follows, Job, Works, app

NAMES = ("ann", "bob")
NUMBERS = 6


async def redriven(host: Host, name: str, request: str, *more: Any) -> None:
    """Return once the letters of a key have come in again."""
    title = redrive_of("Works").title
    receipt = await host.inputs.command(title, (name, *more), Input(request=f"{request}/{name}"))
    await host.inputs.replied(receipt)
    await host.settled(receipt.origin)


async def work(host: Host, name: str) -> None:
    """Send all inputs of one key."""
    for number in range(NUMBERS):
        needs = int(number == 2)
        await host.publish(Job(name, number, needs, declared=True), Input(request=f"{number}/{name}"))
    await redriven(host, name, "too early")
    await host.tell("Works.fix", (name, 1), Input(request=f"fix/{name}"))
    await redriven(host, name, "back")
    await host.publish(Job(name, NUMBERS, 2, declared=True), Input(request=f"last/{name}"))
    await redriven(host, name, "dropped", "discard")
    await host.publish(Job(name, NUMBERS + 1), Input(request=f"after/{name}"))


async def live(folder: Path) -> None:
    """Live to the end, or to the crash, and print what is there."""
    host = build(app, "modular-monolith", folder, Options(ticks=False))
    await host.start()
    await asyncio.gather(*(work(host, name) for name in NAMES))
    await host.settled()
    found = await host.site.letters(Search())
    seen = {name: [*await host.of(Works).numbers(name)] for name in NAMES}
    follows = {name: [*await host.of(Follows).numbers(name)] for name in NAMES}
    await host.drain()
    print(json.dumps({"seen": seen, "follows": follows, "letters": found.count}))


if __name__ == "__main__":
    faults.arm()
    asyncio.run(live(Path(sys.argv[1])))
