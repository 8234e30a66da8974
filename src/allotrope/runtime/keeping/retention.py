"""Retention: takes old entries out of the log, in small steps, once two checkpoints that cover them were read back.

Not here: how long what is kept (`planning.retention`), and how entries are removed (`logs`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from allotrope.kernel.errors import Refused
from allotrope.planning.doors.retention import LEAST, NEWEST
from allotrope.storage.checkpoints import Checkpoints
from allotrope.storage.ports import Log, ShortLog

logger = logging.getLogger("allotrope")
_PART = 48  # of the shortest time that anything is kept: so often is it looked at


class Retention:
    """What leaves one log, and when."""

    def __init__(
        self, log: Log, files: Checkpoints, spans: Mapping[str, int], now: Callable[[], int]
    ) -> None:
        """Remove nothing before the first round. Refused when the log cannot."""
        if spans and not isinstance(log, ShortLog):
            raise Refused(
                "this log keeps all that it has; leave out `keep` and `compact`, or take a log that can"
            )
        self.log, self.files, self.spans, self.now = log, files, spans, now
        self._next = 0

    async def round(self) -> int:
        """Remove what has had its time, if anything, and return how many entries."""
        now = self.now()
        if not self.spans or not isinstance(self.log, ShortLog) or now < self._next:
            return 0
        self._next = now + min(LEAST if span == NEWEST else span for span in self.spans.values()) // _PART
        kept = self.files.found()
        if len(kept) < 2 or kept[0].views != kept[1].views:
            return 0
        if not all([await asyncio.to_thread(self.files.whole, each) for each in kept]):
            return 0  # what is removed lives in them alone: one that cannot be read is none
        before = min(each.position for each in kept) - 1  # the entry that tells which log it is stays
        keep = {kind: span if span == NEWEST else now - span for kind, span in self.spans.items()}
        total = 0
        while removed := await self.log.shorten(before, keep):
            total += removed
            await asyncio.sleep(0.001)  # others may write in between
        if total:
            logger.info("%d entries have left the log: they are finished, kept in the views, and old", total)
        return total


def loss(log: Log, views: Mapping[str, tuple[str, ...]]) -> str:
    """Return what some views, of events of these kinds, would lack if they were rebuilt from a log; "" when nothing."""
    removed = log.removed() if isinstance(log, ShortLog) else {}
    told = []
    for view, kinds in views.items():
        for kind in kinds:
            if kind in removed:
                gone = removed[kind]
                until = datetime.fromtimestamp(gone.at / 1e6, UTC).isoformat(timespec="seconds")
                told.append(f"{view} would lack {gone.entries:,} {kind}, accepted up to {until}")
    return "; ".join(told)
