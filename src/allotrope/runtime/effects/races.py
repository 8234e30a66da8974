"""Races: who reads and who writes the rows of one component, so that an overtaken operation runs again.

Not here: races between processes, which the ledger finds when it commits.
"""

import asyncio
from collections.abc import Collection

from allotrope.kernel.calls import Effect
from allotrope.runtime.flows import woken


class Races:
    """The operations of one component that run, and its commits that are under way."""

    def __init__(self) -> None:
        """Start with nobody."""
        self.active: list[Effect] = []  # of the operations that run
        self._landing: dict[tuple[str, str], int] = {}  # rows of the commits that are under way
        self._waiting: list[asyncio.Future[None]] = []

    def overtaken(self, effect: Effect) -> bool:
        """Return whether a commit has changed, or is about to change, what an operation has read."""
        return effect.stale or (bool(self._landing) and effect.touches(self._landing))

    def begin(self, rows: Collection[tuple[str, str]]) -> None:
        """Take note of a commit that is under way."""
        for row in rows:
            self._landing[row] = self._landing.get(row, 0) + 1

    def land(self, rows: Collection[tuple[str, str]]) -> None:
        """Take note of its end."""
        for row in rows:
            self._landing[row] -= 1
            if not self._landing[row]:
                del self._landing[row]
        self.outdate(rows)
        if self._waiting and not self._landing:
            self._waiting = woken(self._waiting)

    def outdate(self, rows: Collection[tuple[str, str]]) -> None:
        """Let who has read one of these rows, and still runs, run again."""
        for effect in self.active:
            if effect.touches(rows):
                effect.stale = True

    async def quiet(self) -> None:
        """Return once no commit is under way."""
        while self._landing:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
