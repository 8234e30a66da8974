"""What the gateway needs of the runtime, all of it: here, and nowhere else, it touches a host.

A query is asked as a part of the visit that it serves: its deadline, tenant, request and trace are those of the
context. Events and commands carry theirs in an `Input`.
"""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any, Protocol

import msgspec

from allotrope.gateway.preferences import NONE, Preference
from allotrope.kernel import codec
from allotrope.kernel.calls import LAST_ORIGIN, Call, current
from allotrope.kernel.messages import Event
from allotrope.kernel.operations import Operation
from allotrope.planning.plans import Plan
from allotrope.runtime.intake.inputs import Inputs, Receipt
from allotrope.runtime.options import Input
from allotrope.runtime.records import figures
from allotrope.runtime.sites.site import Site
from allotrope.runtime.tracing import Span, Tracer, check_traceparent
from allotrope.storage.ports import Entry, Envelope, Log
from allotrope.storage.positions import position_at

_LATER = 1 << 62  # a time after all that there is
EARLY_S = 0.01  # by how much a timer may be before its time


class Live(Protocol):
    """A host, as far as a gateway knows it."""

    plan: Plan
    stopped: BaseException | None

    inputs: Inputs
    log: Log
    site: Site
    watch: Callable[[Envelope, Any], None] | None

    def of(self, kind: type[Any]) -> Any:
        """Return a component's queries, or a view."""

    def let_go(self, receipt: Receipt) -> None:
        """Have an input go on whether anybody waits for it or not."""


class Visit(msgspec.Struct, gc=False):
    """One request from outside, whatever it asks for."""

    request: str  # its id, in the answer, the logs and the trace
    trace: str  # the W3C header that its parts go under
    span: Span | None  # None when its trace is not kept
    until: float  # when its patience ends, of perf_counter
    tenant: str = ""
    once: str = ""  # the caller's Idempotency-Key
    at: datetime | None = None  # when what it tells of happened, if it says so
    prefer: Preference = NONE
    waits: bool = False  # for the end of a command, whatever the topology says
    after: int = 0  # an origin whose effects are to be read
    place: str = ""  # where its status is found, of one that is answered before its end
    last: str = ""  # the id of the last event that was seen
    origins: list[int] = []  # of what it has had accepted, all its parts together

    @property
    def late(self) -> bool:
        """Return whether its patience has ended."""
        return perf_counter() >= self.until - EARLY_S


class Link:
    """Asks, tells and publishes on behalf of visits."""

    def __init__(self, host: Live, tracer: Tracer) -> None:
        """Reach `host`; `tracer` is the one that it uses itself."""
        self.host, self.tracer = host, tracer
        self.plan, self.inputs = host.plan, host.inputs
        self._asks: dict[str, Callable[..., Any]] = {}

    @property
    def durable(self) -> bool:
        """Return whether the log keeps what it gets."""
        return self.plan.topology.durability != "none"

    @property
    def parked(self) -> int:
        """Return how many events were parked since the start."""
        return self.host.site.parked

    async def end(self) -> int:
        """Return the position in the log of what comes next."""
        return await position_at(self.host.log, _LATER)

    async def entries(self, position: int, limit: int) -> Sequence[Entry]:
        """Return entries of the log from a position on."""
        return await self.host.log.read(position, limit)

    def value(self, envelope: Envelope) -> Any:
        """Return the event that an envelope holds. Refused, or ValidationError, where this version cannot read it."""
        return codec.decode(envelope.body, self.host.site.routes.kinds[envelope.kind])

    def watch(self, seen: Callable[[Envelope, Any], None]) -> None:
        """Have every event shown from now on; for who has no log to read."""
        self.host.watch = seen
        self.host.site.routes.watched = True

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

    def join(self, visit: Visit, trace: str) -> None:
        """Put a visit under a trace that only its body has told of."""
        span = self.tracer.root("gateway events", trace)
        if span is not None:
            span.request = visit.request
        visit.span, visit.trace = span, trace if span is None else span.traceparent

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

    async def read(self, view: type[Any], key: str, at: datetime | None, visit: Visit) -> dict[str, Any]:
        """Return the figures of one key of a view, newest or at an event time."""
        token = current.set(_call(visit))
        try:
            found: dict[str, Any] = figures(await self.host.of(view).of(key, at))
            return found
        finally:
            current.reset(token)

    async def told(self, operation: Operation, arguments: tuple[Any, ...], visit: Visit) -> Receipt:
        """Return the receipt of a command."""
        receipt = await self.inputs.command(operation.title, arguments, _input(visit))
        visit.origins.append(receipt.origin)
        return receipt

    async def published(self, event: Event, visit: Visit) -> Receipt:
        """Return the receipt of an event."""
        receipt = await self.inputs.event(event, _input(visit))
        visit.origins.append(receipt.origin)
        return receipt

    def let_go(self, receipt: Receipt) -> None:
        """Have an input go on whether anybody waits for it or not."""
        self.host.let_go(receipt)

    def receipt(self, origin: int, kind: str, request: str, visit: Visit) -> Receipt:
        """Return the receipt of an input that this tenant has sent before."""
        return Receipt(Envelope(kind, "", b"", 0, origin, "", request, visit.tenant), origin)


def _call(visit: Visit) -> Call:
    at = time.time_ns() // 1000
    return Call(
        "", "", LAST_ORIGIN, "", at, visit.until, visit.tenant, visit.request, None, visit.span, 0
    )  # fmt: skip


def _input(visit: Visit) -> Input:
    return Input(request=visit.once, at=visit.at, tenant=visit.tenant, traceparent=visit.trace)
