"""Group commit: what is asked for in one turn of the loop, or while the disk is busy, is one transaction."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from allotrope.kernel.errors import Lost, Refused

Work = Callable[[Any], Any]
Job = tuple[Work, Any, "asyncio.Future[Any]"]
Result = tuple[Any, Exception | None]


class Group:
    """Gathers jobs and has `write` do each group of them, at once or in a thread of its own.

    `write` is handed (work, argument) pairs and returns the results in their order, after the commit.
    """

    def __init__(self, write: Callable[[list[tuple[Work, Any]]], list[Any]], *, threaded: bool) -> None:
        self._write, self._threaded = write, threaded
        self._jobs: list[Job] = []
        self._busy = self._closed = False
        self._groups: SimpleQueue[tuple[asyncio.AbstractEventLoop, list[Job]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, work: Work, argument: Any) -> "asyncio.Future[Any]":
        """Return the future of one job's result."""
        if self._closed:
            raise Refused("the store is closed; open it again")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a loop that has ended starts nothing any more, and nobody waits there
            self._loop, self._jobs, self._busy = loop, [], False
        future: asyncio.Future[Any] = loop.create_future()
        self._jobs.append((work, argument, future))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._start, loop)
        return future

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs, self._jobs = self._jobs, []
        if not jobs:
            self._busy = False
        elif self._threaded:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="allotrope-writer", daemon=True)
                self._thread.start()
            self._groups.put((loop, jobs))
        else:
            self._busy = False
            _settle(jobs, self._results(jobs))

    def _serve(self) -> None:
        while (group := self._groups.get()) is not None:
            loop, jobs = group
            results = self._results(jobs)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._settled, loop, jobs, results)

    def _settled(self, loop: asyncio.AbstractEventLoop, jobs: list[Job], results: list[Result]) -> None:
        _settle(jobs, results)
        self._start(loop)

    def _results(self, jobs: list[Job]) -> list[Result]:
        try:
            results = self._write([(work, argument) for work, argument, _ in jobs])
            return [(result, None) for result in results]
        except Lost as error:
            return [(None, error)] * len(jobs)
        except Exception as error:
            if len(jobs) == 1:
                return [(None, error)]
            # One job holds what cannot be stored: the others must not fail with it.
            return [result for job in jobs for result in self._results([job])]

    def close(self) -> None:
        """Finish the group at work and refuse the rest."""
        self._closed = True
        if self._thread is not None:
            self._groups.put(None)
            self._thread.join()
        jobs, self._jobs = self._jobs, []
        refused = Refused("the store was closed before this was written; open it and repeat")
        _settle(jobs, [(None, refused)] * len(jobs))


def _settle(jobs: list[Job], results: list[Result]) -> None:
    for (_, _, future), (result, error) in zip(jobs, results, strict=True):
        if future.done():  # its caller was cancelled; what it asked for is done all the same
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
