"""Trials: how a delivery has a process to itself for a while, so that what becomes of it is known to be its doing.

Others wait meanwhile; what the delivery itself asks for is let through. Not here: who is tried (`suspects`).
"""

import asyncio
from collections.abc import Callable
from random import getrandbits

LOOK_S, LOOKS = 0.005, 200  # whether what runs has ended; what takes longer is not waited for


class Trials:
    """The trials of one process, one after the other."""

    def __init__(self, busy: Callable[[], bool]) -> None:
        """Ask `busy` whether anything runs."""
        self._busy = busy
        self._ticket = 0
        self._turn = asyncio.Lock()
        self._tried: tuple[int, str] | None = None  # origin and path
        self._over = asyncio.Event()
        self._bell: asyncio.TimerHandle | None = None

    @property
    def on(self) -> bool:
        """Return whether somebody has the process for itself, or is about to."""
        return self._tried is not None

    async def begin(self, origin: int, path: str, hold_s: float) -> int:
        """Return a ticket once nothing else runs; 0 when that does not come to be. It is good for `hold_s`."""
        async with self._turn:
            while self.on:
                await self._over.wait()
            self._tried, self._ticket = (origin, path), 0
            self._over.clear()
            try:
                for _ in range(LOOKS):
                    if not self._busy():
                        break
                    await asyncio.sleep(LOOK_S)
            except BaseException:
                self._open()
                raise
            if self._busy():
                self._open()
                return 0
            self._ticket = getrandbits(48) + 1  # no other process takes it for one of its own
            self._bell = asyncio.get_running_loop().call_later(hold_s, self._open)
            return self._ticket

    def holds(self, ticket: int) -> bool:
        """Return whether a ticket is good."""
        return self.on and 0 != ticket == self._ticket

    async def passed(self, origin: int, path: str) -> None:
        """Return once what is of this origin and path may run."""
        while self._tried is not None and self._tried != (origin, path):
            await self._over.wait()

    def end(self, ticket: int) -> None:
        """Let the others in again."""
        if self.holds(ticket):
            self._open()

    def _open(self) -> None:
        if self._bell is not None:
            self._bell.cancel()
            self._bell = None
        self._tried = None
        self._over.set()
