"""Chaos: another order of work, repeats and delays, all drawn from one seed. An app that is sound does not notice."""

import asyncio
import os
import signal
from collections.abc import Callable
from random import Random

from allotrope.runtime.records import Record

TEMPERS = ("calm", "shuffled")


class Chaos:
    """Disturbs one run of a host; keeps the record of every delivery."""

    def __init__(self, seed: int, temper: str) -> None:
        """Draw from `seed`; a calm one only keeps records."""
        self._random = Random(seed)
        self._rough = temper != "calm"
        self.records: dict[tuple[int, str, str], Record] = {}
        self.repeats = self.pauses = 0

    async def pause(self, title: str) -> None:
        """Let others go first, a random number of times."""
        if self._rough and self._random.random() < 0.5:
            self.pauses += 1
            for _ in range(self._random.randrange(1, 24)):
                await asyncio.sleep(0)

    def twice(self, title: str) -> bool:
        """Repeat one delivery in eight, as if the process had died before its commit."""
        again = self._rough and self._random.random() < 0.125
        self.repeats += again
        return again

    def doubled(self) -> bool:
        """Send one input in ten a second time, with the same request id."""
        return self._rough and self._random.random() < 0.1

    def saw(self, record: Record) -> None:
        """Keep a record."""
        self.records[(record.origin, record.path, record.title)] = record


def dying(seed: int) -> Callable[[str], None]:
    """Return a hook for crash points that ends the process, as kill -9 does, at a random one of the first hundreds."""
    left = Random(f"kill {seed}").randrange(20, 600)

    def hook(name: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook
