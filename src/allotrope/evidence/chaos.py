"""Chaos: another order of work, repeats and delays, drawn from one seed. A sound app does not notice.

Each disturbance is a word of its own, so that a check which found a difference can try them one at a time.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Literal

from allotrope.runtime.doors.batches import Batcher
from allotrope.runtime.doors.dispatch import Door
from allotrope.runtime.records import Record

Stir = Literal["hashes", "instances", "repeats", "doubles", "order", "kill"]
STIRS: tuple[Stir, ...] = ("hashes", "instances", "repeats", "doubles", "order", "kill")


class Chaos:
    """Disturbs one run of a host; keeps the record of every delivery."""

    def __init__(self, seed: int, stirs: Iterable[Stir] = ()) -> None:
        """Draw from `seed`; without `stirs` it only keeps records."""
        self._seed, self._random, self._stirs = seed, Random(seed), frozenset(stirs)
        self.records: dict[tuple[int, str, str], Record] = {}
        self.repeats = self.pauses = 0

    async def pause(self, title: str, most: int = 24) -> None:
        """Let others go first, a random number of times."""
        if "order" in self._stirs and self._random.random() < 0.5:
            self.pauses += 1
            for _ in range(self._random.randrange(1, most)):
                await asyncio.sleep(0)

    def twice(self, title: str) -> bool:
        """Repeat one delivery in eight, as if the process had died before its commit."""
        again = "repeats" in self._stirs and self._random.random() < 0.125
        self.repeats += again
        return again

    def doubled(self) -> bool:
        """Send one input in ten a second time, with the same request id."""
        return "doubles" in self._stirs and self._random.random() < 0.1

    def saw(self, record: Record) -> None:
        """Keep a record."""
        self.records[(record.origin, record.path, record.title)] = record

    def spread(self) -> tuple[int, tuple[str, ...]]:
        """Return the seed and the words from which the process of a unit makes a disturbance of its own."""
        return self._seed, tuple(sorted(self._stirs))

    def strikes(self) -> bool:
        """End the process of a unit now and then."""
        return "kill" in self._stirs and self._random.random() < 0.01

    def slow(self, doors: Iterable[Door]) -> None:
        """Let queries take their time, too: else two asked at once always answer in the order asked."""
        for door in doors:
            operation = door.operation
            if "order" not in self._stirs or operation.writes or operation.streams:
                continue
            batcher = getattr(door.body, "__self__", None)
            if isinstance(batcher, Batcher):  # busy for a while, so that it collects a batch
                batcher.body = self._paused(operation.title, batcher.body)
            else:
                door.body = self._paused(operation.title, door.body)

    def _paused(self, title: str, body: Callable[..., Any]) -> Callable[..., Any]:
        async def paused(*arguments: Any) -> Any:
            await self.pause(title, 8)
            return await body(*arguments)

        return paused


def dying(seed: int, inputs: int) -> Callable[[str], None]:
    """Return a hook for crash points that ends the process, as kill -9 does, during the work on `inputs`."""
    left = Random(f"kill {seed}").randrange(2, 4 + 2 * inputs)

    def hook(name: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook
