"""Queues: calls that wait for a callee in another unit, in the order in which they came, until it is there.

How many may wait for a place is said by the callee's limit, and held by its slots (`limits`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from allotrope.kernel.errors import Overloaded
from allotrope.runtime.telemetry.meters import Meter

Body = Callable[..., Awaitable[Any]]
SHORTEST_S, LONGEST_S = 0.01, 0.5  # between two looks whether it is there


class Queue:
    """Asks one query elsewhere, however long it is away; the deadline of a call ends its waiting."""

    def __init__(self, body: Body, meter: Meter) -> None:
        """Stand before `body`; who waits is noted on the meter."""
        self.body, self.meter = body, meter
        self._line, self._shut = asyncio.Lock(), False

    async def ask(self, *arguments: Any) -> Any:
        """Return the answer."""
        came = 0.0
        try:
            while True:
                if self._shut or self._line.locked():
                    if not came:
                        self.meter.waiting.append(came := time.time())
                    async with self._line:  # it lets them in as they came; the first tries for all
                        if self._shut:
                            return await self._tried(arguments)
                try:
                    return await self.body(*arguments)
                except Overloaded:
                    self._shut = True
        finally:
            if came:
                self.meter.waiting.remove(came)

    async def _tried(self, arguments: tuple[Any, ...]) -> Any:
        pause = SHORTEST_S
        while True:
            await asyncio.sleep(pause)
            try:
                answer = await self.body(*arguments)
            except Overloaded:
                pause = min(pause * 2, LONGEST_S)
                continue
            except Exception:
                self._shut = False  # it is there, whatever it says
                raise
            self._shut = False
            return answer
