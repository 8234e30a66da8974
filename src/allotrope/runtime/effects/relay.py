"""The relay: carries what was committed to the log, in the order of the commits, and repeats it after a crash."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from allotrope.kernel.errors import Refused
from allotrope.storage.ports import Envelope, Log

log = logging.getLogger("allotrope")


class Outbox(Protocol):
    """Numbered events that were committed and not yet relayed."""

    async def pull(self) -> Sequence[tuple[int, Envelope]]:
        """Return the first of them, in order."""

    async def forget(self, numbers: Sequence[int]) -> None:
        """Drop those that the log has stored."""


class Relay:
    """Serves the outbox of one ledger. Its numbers and `source` let the log pass over what it has."""

    def __init__(
        self, source: str, outbox: Outbox, log: Log, spawn: Callable[[Any], asyncio.Task[Any]]
    ) -> None:
        """Carry nothing before somebody asks."""
        self.source, self.outbox, self.log, self.spawn = source, outbox, log, spawn
        self._task: asyncio.Task[None] | None = None
        self._more = False

    def wake(self) -> None:
        """Take note that there is something to carry."""
        self._more = True
        if self._task is None or self._task.done():
            self._task = self.spawn(self._carried())

    async def flush(self) -> None:
        """Return once all that was committed before is in the log."""
        self.wake()
        await self.flushed()

    async def flushed(self) -> None:
        """Return once nothing is on its way."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _carried(self) -> None:
        while self._more:
            self._more = False
            while numbered := await patiently(self.outbox.pull):
                await patiently(self.log.relay, self.source, numbered)
                await patiently(self.outbox.forget, [number for number, _ in numbered])


async def patiently(
    write: Callable[..., Awaitable[Any]], *what: Any, told: Callable[[Refused], None] | None = None
) -> Any:
    """Write what was accepted long ago. A store that refuses for a while is asked again; `told` learns of it."""
    while True:
        try:
            return await write(*what)
        except Refused as error:
            if error.retry_after_s is None:
                raise
            if told is not None:
                told(error)
            log.warning("%s; trying again in %.1f s", error, error.retry_after_s)
            await asyncio.sleep(error.retry_after_s)
