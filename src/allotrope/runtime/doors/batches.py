"""Batches: single calls collected for an operation defined on a sequence. Idle-first: nobody waits for company.

A call that finds the operation free runs at once; only those that arrive while it is busy are collected.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from typing import Any

from allotrope.kernel.calls import Call, current

Body = Callable[[tuple[Any, ...]], Awaitable[Sequence[Any]]]


class Batcher:
    """Fills the batches of one operation on one instance."""

    def __init__(self, call: Call, body: Body, limit: int) -> None:
        """Call `body` with at most `limit` values at a time, one batch after the other, as `call`."""
        self.limit = limit
        self._call = call  # of no origin: a batch serves several callers and belongs to none of them
        self._serving: set[asyncio.Task[None]] = set()
        self.body = body
        self._busy = False
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []

    async def call(self, value: Any) -> Any:
        """Return the result for one value; an error of the body reaches only the values it cannot answer."""
        if self._busy:
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._waiting.append((value, answer))
            return await answer
        self._busy = True
        try:
            return (await self._run((value,)))[0]
        finally:
            self._next()

    def _next(self) -> None:
        waiting = [(value, answer) for value, answer in self._waiting if not answer.done()]
        batch, self._waiting = waiting[: self.limit], waiting[self.limit :]
        self._busy = bool(batch)
        if batch:
            task = asyncio.get_running_loop().create_task(self._serve(batch), context=copy_context())
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, batch: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        try:
            await self._answer(batch)
        finally:
            self._next()

    async def _answer(self, batch: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        try:
            results = await self._run(tuple(value for value, _ in batch))
        except asyncio.CancelledError:
            for _, answer in batch:
                answer.cancel()
            raise
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0][1], error)
                return
            for single in batch:  # one bad value must not fail the others
                await self._answer([single])
            return
        for (_, answer), result in zip(batch, results, strict=True):
            _settle(answer, result)

    async def _run(self, values: tuple[Any, ...]) -> Sequence[Any]:
        token = current.set(self._call)
        try:
            results = await self.body(values)
        finally:
            current.reset(token)
        if len(results) != len(values):
            title = f"{self._call.component}.{self._call.operation}"
            raise ValueError(f"{title} answered {len(values)} values with {len(results)} results")
        return results


def _settle(answer: asyncio.Future[Any], result: Any) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
