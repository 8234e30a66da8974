"""Batches: single calls collected for an operation defined on a sequence. Idle-first: nobody waits for company.

A call that finds the operation free runs at once; only those that arrive while it is busy are collected.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from typing import Any

import msgspec

from allotrope.kernel.calls import Call, current
from allotrope.runtime.tracing import Span, Tracer

Waiting = tuple[Any, asyncio.Future[Any], Span | None]  # a value, where its result goes, the span of its call
Body = Callable[[tuple[Any, ...]], Awaitable[Sequence[Any]]]


class Batcher:
    """Fills the batches of one operation on one instance."""

    def __init__(self, call: Call, body: Body, limit: int, tracer: Tracer) -> None:
        """Call `body` with at most `limit` values at a time, one batch after the other, as `call`."""
        self.limit, self.tracer = limit, tracer
        self._call = call  # of no origin: a batch serves several callers and belongs to none of them
        self._serving: set[asyncio.Task[None]] = set()
        self.body = body
        self._busy = False
        self._waiting: list[Waiting] = []

    async def call(self, value: Any) -> Any:
        """Return the result for one value; an error of the body reaches only the values it cannot answer."""
        caller = current.get()
        span = None if caller is None else caller.trace
        if self._busy:
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._waiting.append((value, answer, span))
            return await answer
        self._busy = True
        try:
            return (await self._run((value,), (span,)))[0]
        finally:
            self._next()

    def _next(self) -> None:
        waiting = [one for one in self._waiting if not one[1].done()]
        batch, self._waiting = waiting[: self.limit], waiting[self.limit :]
        self._busy = bool(batch)
        if batch:
            task = asyncio.get_running_loop().create_task(self._serve(batch), context=copy_context())
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, batch: list[Waiting]) -> None:
        try:
            await self._answer(batch)
        finally:
            self._next()

    async def _answer(self, batch: list[Waiting]) -> None:
        try:
            results = await self._run(tuple(one[0] for one in batch), tuple(one[2] for one in batch))
        except asyncio.CancelledError:
            for _, answer, _ in batch:
                answer.cancel()
            raise
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0][1], error)
                return
            for single in batch:  # one bad value must not fail the others
                await self._answer([single])
            return
        for (_, answer, _), result in zip(batch, results, strict=True):
            _settle(answer, result)

    async def _run(self, values: tuple[Any, ...], spans: tuple[Span | None, ...]) -> Sequence[Any]:
        """Return the results for values, as one call: below the only span that it serves, or linked to several."""
        call, joint, status = self._call, None, "ok"
        if traced := [span for span in spans if span is not None]:
            if len(values) > 1:
                joint = self.tracer.joint(f"{call.component}.{call.operation} batch", traced)
            call = msgspec.structs.replace(call, trace=joint or traced[0])
        token = current.set(call)
        try:
            results = await self.body(values)
        except BaseException as error:
            status = type(error).__name__
            raise
        finally:
            current.reset(token)
            if joint is not None:
                self.tracer.end(joint, status)
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
