"""Graces: how long what is told to end may take to finish what it has begun. Seconds.

Whoever ends another waits for longer than that one may take: nothing is killed in the middle of an orderly end.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

WORK_S = 10.0  # for requests and calls that run; and once more for what they have set off
SIDECAR_S = 5.0  # for what a sidecar has yet to write
STATES_S = 5.0  # for the states of the views to be kept
_SPARE_S = 1.0  # to let go of files and sockets
REPLICA_S = WORK_S + SIDECAR_S + _SPARE_S  # its calls, then its sidecars
GATEWAY_S = 3 * WORK_S + STATES_S + _SPARE_S  # HTTP, then gRPC, then inputs, then states
FLEET_S = REPLICA_S + _SPARE_S  # all replicas at once, after the gateway
_AGAIN_S = 1.0


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and return once all have ended.

    One that goes on is cancelled again: before Python 3.12, `asyncio.wait_for` loses what comes just with the answer.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=_AGAIN_S)
        await asyncio.gather(*done, return_exceptions=True)  # how they ended is nobody's concern any more
