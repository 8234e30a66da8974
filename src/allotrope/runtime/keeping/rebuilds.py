"""Rebuilds: one view made again from the log beside the one that serves, which then goes on with it."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from allotrope.kernel import codec
from allotrope.runtime.keeping.states import Watch
from allotrope.storage.ports import Log
from allotrope.storage.positions import position_at

_STEP = 200  # entries read at once beside the work
_NEVER = 1 << 62


async def rebuilt(
    watch: Watch, log: Log, kinds: Mapping[str, Any], origin: int, told: Callable[[int, int], None]
) -> None:
    """Let a view go on with what the log says of all origins below one at which the floor is held.

    What came from that origin on it has from its own work. `told` hears the position that was read, and the end.
    """
    live = watch.view
    fresh = type(live)()
    fresh.floor = live.floor
    names = {source.__name__ for source in live.sources()}
    position, end = 1, await position_at(log, _NEVER)
    while position < end and (entries := await log.read(position, _STEP)):
        for entry in entries:
            envelope = entry.envelope
            if envelope.kind in names and 0 < envelope.origin < origin:
                fresh.add(codec.decode(envelope.body, kinds[envelope.kind]), envelope.origin, envelope.path)
        position = entries[-1].position + 1
        told(min(position, end), end)
        await asyncio.sleep(0)
    watch.adopt(fresh, origin)  # nobody reads in between
