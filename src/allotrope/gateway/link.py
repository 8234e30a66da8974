"""What the gateway needs of the runtime, all of it: here, and nowhere else, it touches a host.

A query is asked as a part of the visit that it serves: its deadline, tenant, request and trace are those of the
context. Events and commands carry theirs in an `Input`.
"""

import time
from collections.abc import AsyncGenerator, Callable
from time import perf_counter
from typing import Any, Protocol

import msgspec

from allotrope.kernel.calls import LAST_ORIGIN, Call, current
from allotrope.kernel.messages import Event
from allotrope.kernel.operations import Operation
from allotrope.planning.plans import Plan
from allotrope.runtime.options import Input
from allotrope.runtime.tracing import Span, Tracer, check_traceparent

EARLY_S = 0.01  # by how much a timer may be before its time


class Live(Protocol):
    """A host, as far as a gateway knows it."""

    plan: Plan
    stopped: BaseException | None

    def of(self, kind: type[Any]) -> Any:
        """Return a component's queries."""

    async def publish(self, event: Event, given: Input) -> int:
        """Accept an event."""

    async def tell(self, title: str, arguments: tuple[Any, ...], given: Input) -> Any:
        """Run a command."""


class Visit(msgspec.Struct, gc=False):
    """One request from outside, whatever it asks for."""

    request: str  # its id, in the answer, the logs and the trace
    trace: str  # the W3C header that its parts go under
    span: Span | None  # None when its trace is not kept
    until: float  # when its patience ends, of perf_counter
    tenant: str = ""
    once: str = ""  # the caller's Idempotency-Key

    @property
    def late(self) -> bool:
        """Return whether its patience has ended."""
        return perf_counter() >= self.until - EARLY_S


class Link:
    """Asks, tells and publishes on behalf of visits."""

    def __init__(self, host: Live, tracer: Tracer) -> None:
        """Reach `host`; `tracer` is the one that it uses itself."""
        self.host, self.tracer = host, tracer
        self.plan = host.plan
        self._asks: dict[str, Callable[..., Any]] = {}

    @property
    def ready(self) -> bool:
        """Return whether it takes anything."""
        return self.host.stopped is None

    def visit(self, name: str, request: str, trace: str, patience_s: float) -> Visit:
        """Return a new visit, under the W3C header `trace` when it is one."""
        parent = check_traceparent(trace) if trace else ""
        span = self.tracer.root(name, parent)
        fresh = ""
        if span is None:
            fresh = self.tracer.fresh_id()
            header = parent or f"00-{fresh}-{fresh[:16]}-00"
        else:
            header = span.traceparent
        if not request:
            request = fresh or self.tracer.fresh_id()
        if span is not None:
            span.name, span.request = f"gateway {name}", request
        return Visit(request, header, span, perf_counter() + patience_s)

    def ended(self, visit: Visit, status: str) -> None:
        """Close the visit's span."""
        if visit.span is not None:
            self.tracer.end(visit.span, status)

    def ask(self, operation: Operation) -> Callable[..., Any]:
        """Return the face of a query."""
        found = self._asks.get(operation.title)
        if found is None:
            owner = self.plan.app.components[operation.component]
            found = self._asks[operation.title] = getattr(self.host.of(owner.kind), operation.name)
        return found

    async def asked(self, operation: Operation, arguments: tuple[Any, ...], visit: Visit) -> Any:
        """Return the answer of a query."""
        token = current.set(_call(visit))
        try:
            return await self.ask(operation)(*arguments)
        finally:
            current.reset(token)

    async def pieces(
        self, operation: Operation, arguments: tuple[Any, ...], visit: Visit
    ) -> AsyncGenerator[Any, None]:
        """Yield the answer of a streaming query."""
        call, pieces = _call(visit), None
        try:
            while True:
                token = current.set(call)
                try:
                    pieces = pieces or self.ask(operation)(*arguments)
                    piece = await anext(pieces)
                except StopAsyncIteration:
                    return
                finally:
                    current.reset(token)
                yield piece
        finally:
            if pieces is not None:
                await pieces.aclose()

    async def told(self, operation: Operation, arguments: tuple[Any, ...], visit: Visit) -> Any:
        """Return the answer of a command."""
        return await self.host.tell(operation.title, arguments, _input(visit))

    async def published(self, event: Event, visit: Visit) -> int:
        """Return the origin of an event."""
        return await self.host.publish(event, _input(visit))


def _call(visit: Visit) -> Call:
    at = time.time_ns() // 1000
    return Call(
        "", "", LAST_ORIGIN, "", at, visit.until, visit.tenant, visit.request, None, visit.span, 0
    )  # fmt: skip


def _input(visit: Visit) -> Input:
    return Input(request=visit.once, tenant=visit.tenant, traceparent=visit.trace)
