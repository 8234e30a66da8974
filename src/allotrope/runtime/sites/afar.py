"""Afar: what stands in one process for the components of another. The door is the same; its body is a letter."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from time import perf_counter
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.calls import LAST_ORIGIN, NEVER, Call, current
from allotrope.kernel.operations import Operation
from allotrope.kernel.views import View, micros
from allotrope.planning.plans import Plan
from allotrope.runtime.records import reading_of
from allotrope.runtime.sites.wire import NO_KEY, Address, Letter, Sought, Wire, opened, question
from allotrope.runtime.tracing import Span, Tracer
from allotrope.runtime.wiring import Link, Links


def abroad(plan: Plan, wire: Wire, via: Mapping[str, Link], unit: str = "") -> Links:
    """Return the links of a unit's process, or of one that has no component: to all others over the wire."""
    away = frozenset(plan.app.components) - frozenset(plan.units.get(unit, ()))
    return Links(via, away, Abroad(plan, wire))


class Abroad:
    """Reaches the components of other units."""

    def __init__(self, plan: Plan, wire: Wire) -> None:
        """Find them by the units of a plan."""
        self.wire = wire
        self.home = {name: unit for unit, names in plan.units.items() for name in names}

    def body(self, operation: Operation) -> Callable[..., Any]:
        """Return what stands for the body of an operation: only queries are ever asked for over it."""
        unit, wire, result = Address(self.home[operation.component]), self.wire, operation.result()
        at = list(operation.parameters()).index(operation.key) if operation.key else NO_KEY

        async def asked(*arguments: Any) -> Any:
            call = current.get()
            assert call is not None  # a door has set it
            letter = question(operation, call, arguments, at)
            return opened(await wire.call(unit, "ask", letter, left(call)), result, operation)

        async def streamed(*arguments: Any) -> AsyncIterator[Any]:
            call = current.get()
            assert call is not None
            letter = question(operation, call, arguments, at)
            async for reply in wire.stream(unit, "stream", letter, left(call)):
                yield opened(reply, result, operation)

        return streamed if operation.streams else asked

    def view(self, kind: type[View[Any]], tracer: Tracer) -> "FarView":
        """Return what stands for a view."""
        return FarView(kind, Address(self.home[kind.__name__]), self.wire, tracer)


def left(call: Call) -> float | None:
    """Return the seconds that a call has left, None when it has no deadline."""
    return None if call.deadline == NEVER else max(call.deadline - perf_counter(), 0.0)


class FarView:
    """A view in another unit: `of` reads it there, as of the origin of the call."""

    def __init__(self, kind: type[View[Any]], unit: Address, wire: Wire, tracer: Tracer) -> None:
        """Read from one unit."""
        self.kind, self.unit, self.wire, self.tracer = kind, unit, wire, tracer
        self.title = f"{kind.__name__}.of"

    async def of(self, key: object, at: datetime | None = None) -> Any:
        """Return the reading of one key at event time `at`, as `View.of` does."""
        call, name = current.get(), str(key)
        moment = None if at is None else micros(at)
        if call is not None and moment is None:
            moment = call.at
        origin = LAST_ORIGIN if call is None else call.origin
        sought = Sought(self.kind.__name__, name, moment, origin)
        if call is None or call.trace is None:
            found = await self._read(sought, call)
        else:
            found = await self._traced(sought, call, self.tracer.child(call.trace, self.title))
        if call is not None and call.effect is not None:
            call.effect.tape.append((self.title, (name, moment), found))
        return found

    async def _read(self, sought: Sought, call: Call | None) -> Any:
        timeout_s = None if call is None else left(call)
        reply = await self.wire.call(self.unit, "read", Letter(codec.encode(sought)), timeout_s)
        return reading_of(self.kind, opened(reply, bytes))

    async def _traced(self, sought: Sought, call: Call, span: Span) -> Any:
        status = "ok"
        try:
            return await self._read(msgspec.structs.replace(sought, trace=span.traceparent), call)
        except BaseException as error:
            status = type(error).__name__
            raise
        finally:
            self.tracer.end(span, status)
