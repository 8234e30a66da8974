"""Sinks: where finished spans go. A background task carries them, so no call waits for a disk or a wire."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from allotrope.runtime.telemetry.decisions import Recent
from allotrope.runtime.tracing import Span, Tracer

log = logging.getLogger("allotrope.traces")
PERIOD_S = 0.2


class Sink(Protocol):
    """Takes finished spans; called in one thread that is not the event loop's."""

    def keep(self, spans: Sequence[Span], dropped: int) -> None:
        """Take spans, and the number of those that were lost since the last time."""

    def close(self) -> None:
        """Let go of files and connections."""


class Collector:
    """Empties a tracer's ring into sinks, some times a second and once more at the end."""

    def __init__(self, tracer: Tracer, sinks: Sequence[Sink], period_s: float = PERIOD_S) -> None:
        """Carry from `tracer` to each of `sinks`."""
        self.tracer, self.sinks, self.period_s = tracer, sinks, period_s
        self._recent = [sink for sink in sinks if isinstance(sink, Recent)]  # these wait for no span
        self._dropped = tracer.dropped
        self._failed: set[int] = set()
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spans")

    async def run(self) -> None:
        """Collect until cancelled."""
        while True:
            await asyncio.sleep(self.period_s)
            if self.tracer.finished or any(recent.newest or recent.marked for recent in self._recent):
                await self.collect()

    async def collect(self) -> None:
        """Carry what has finished so far."""
        ring, dropped = self.tracer.finished, self.tracer.dropped
        spans = [ring.popleft() for _ in range(len(ring))]
        lost, self._dropped = dropped - self._dropped, dropped
        await asyncio.get_running_loop().run_in_executor(self._thread, self._carry, spans, lost)

    def _carry(self, spans: list[Span], dropped: int) -> None:
        for index, sink in enumerate(self.sinks):
            try:
                sink.keep(spans, dropped)
                self._failed.discard(index)
            except (
                Exception
            ) as error:  # a full disk for traces must not stop the app; say so once, then stay quiet
                if index not in self._failed:
                    self._failed.add(index)
                    log.warning("spans and decisions are not kept for now, the app goes on: %s", error)

    async def close(self) -> None:
        """Carry the rest and close the sinks."""
        if self._closed:
            return
        self._closed = True
        await self.collect()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        for sink in self.sinks:
            try:
                sink.close()
            except Exception as error:  # as above: the app itself has ended well
                log.warning("the last spans may be missing: %s", error)
