"""Effects: one delivery becomes one transaction, whatever fails, is repeated or runs beside it.

The order is: run, commit (inbox, state, outbox, outcome and record together), answer, relay. A crash before the commit
repeats the run; one after it finds the name in the inbox. So each delivery has one effect.
"""

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.calls import NEVER, Call, Effect
from allotrope.kernel.errors import Failed, Lost, Refused
from allotrope.kernel.messages import Event, Fault, fault_body
from allotrope.kernel.operations import Operation, events_of
from allotrope.kernel.ports import Commit, Envelope
from allotrope.runtime.dispatch import Door
from allotrope.runtime.flows import Delivery, Flow
from allotrope.runtime.records import Outcome, Record, fingerprint, record_of
from allotrope.runtime.telemetry.secrets import mask
from allotrope.storage.points import reach

if TYPE_CHECKING:
    from allotrope.runtime.host import Host

ATTEMPTS = 3  # of a handler, before its event is parked
log = logging.getLogger("allotrope")
Child = tuple[Envelope, Event]


class Disturbance(Protocol):
    """What a check may do to a host to bring differences to light."""

    async def pause(self, title: str) -> None:
        """Let others go first, perhaps."""

    def twice(self, title: str) -> bool:
        """Return whether to run a delivery, drop its effect, and run it again, as after a crash."""

    def saw(self, record: Record) -> None:
        """Take note of a finished delivery."""


class Ended(msgspec.Struct, gc=False):
    """How one delivery ended, before it is committed."""

    operation: Operation
    envelope: Envelope
    call: Call
    answer: Any
    error: Exception | None
    attempts: int
    value: Any  # what was consumed: the event, or a tuple of arguments
    events: tuple[Event, ...]
    writes: tuple[tuple[str, str, Any], ...]


class Effects:
    """Runs the deliveries of one host and commits what they do."""

    def __init__(self, host: "Host") -> None:
        """Serve `host`."""
        self.host = host
        self.recent: deque[Ended] = deque(maxlen=10_000)  # the decisions of a host that keeps nothing on disk
        self.parked = 0
        self._encoded = host.durable
        self._active: dict[str, list[Effect]] = {
            name: [] for name, c in host.plan.app.components.items() if c.needs("table")
        }
        self._pending: dict[str, dict[tuple[str, str], int]] = {name: {} for name in self._active}
        self._relay: asyncio.Task[None] | None = None
        self._until_finish = 0
        host.services.once = self.once

    async def take(self, flow: Flow, delivery: Delivery) -> list[Child]:
        """Run one delivery, commit its effect and return the events that it published."""
        operation, envelope = delivery.operation, delivery.envelope
        door = self.host.wiring.door(operation.title, delivery.key)
        arguments = delivery.value if operation.kind == "command" else (delivery.value,)
        disturbance = self.host.options.disturbance
        if disturbance is not None and disturbance.twice(operation.title):
            await self._attempt(door, self._call(flow, delivery), arguments)
        attempts = 0
        while True:
            attempts += 1
            call = self._call(flow, delivery)
            answer, error, stale = await self._attempt(door, call, arguments)
            if call.trace is not None:
                status = "ok" if error is None else type(error).__name__
                self.host.services.tracer.end(call.trace, status, flow.origin, envelope.path)
            if stale:
                attempts -= 1
                await self._quiet(operation.component)
            elif error is None or operation.kind == "command" or isinstance(error, Fault) or attempts == ATTEMPTS:
                break
            else:
                await asyncio.sleep(0.01 * 4**attempts)
        ended = self._ended(delivery, call, answer, error, attempts)
        children, outcome = await self._commit(flow, ended)
        if outcome is not None:
            reach("reply.before")
            flow.outcome = outcome
            flow.wake()
            reach("reply.after")
        return children

    def _call(self, flow: Flow, delivery: Delivery) -> Call:
        operation, envelope = delivery.operation, delivery.envelope
        services = self.host.services
        cause = envelope.trace if envelope.path else ""  # an input's header names its sender, not a span of ours
        trace = None if flow.trace is None else services.tracer.child(flow.trace, operation.title, cause)
        return Call(
            operation.component, operation.name, flow.origin, envelope.path, envelope.at, NEVER, envelope.tenant,
            envelope.request, Effect(), trace, services.seed,
        )  # fmt: skip

    async def _attempt(self, door: Door, call: Call, arguments: Any) -> tuple[Any, Exception | None, bool]:
        """Return (answer, error, whether another commit has overtaken what it read)."""
        effect = call.effect
        assert effect is not None
        active = self._active.get(call.component)
        if active is None:
            try:
                return await door.run(call, arguments), None, False
            except Exception as error:
                return None, error, False
        active.append(effect)
        try:
            answer, error = await door.run(call, arguments), None
        except Exception as raised:
            answer, error = None, raised
        finally:
            active.remove(effect)
        pending = self._pending[call.component]
        return answer, error, effect.stale or (bool(pending) and effect.touches(set(pending)))

    async def _quiet(self, component: str) -> None:
        """Return once the commits that were under way for a component have ended."""
        while self._pending[component]:
            await asyncio.sleep(0)

    def _ended(
        self, delivery: Delivery, call: Call, answer: Any, error: Exception | None, attempts: int
    ) -> Ended:
        operation, envelope, value = delivery.operation, delivery.envelope, delivery.value
        if error is None:
            assert call.effect is not None
            writes = tuple(
                (table, key, codec.encode(row) if self._encoded and row is not None else row)
                for (table, key), row in call.effect.writes.items()
            )
            return Ended(operation, envelope, call, answer, None, attempts, value, events_of(answer), writes)
        if operation.kind != "command":
            self.parked += 1
            log.error("parked %s at %s: %s", envelope.name, operation.title, error, extra={"call": call})
        return Ended(operation, envelope, call, None, error, attempts, value, (), ())

    async def _commit(self, flow: Flow, ended: Ended) -> tuple[list[Child], Outcome | None]:
        operation, envelope = ended.operation, ended.envelope
        children = [self._child(flow, ended, index, event) for index, event in enumerate(ended.events)]
        outcome = self._outcome(ended) if operation.kind == "command" else None
        request = "" if outcome is None else request_name(envelope)
        record = b""
        if self._encoded:
            record = codec.encode(self.record(ended))
        else:
            self.recent.append(ended)
        if self.host.options.disturbance is not None:
            self.host.options.disturbance.saw(self.record(ended))
        if not (self._encoded or ended.writes or request):
            return children, None
        outbox = tuple(child for child, _ in children) if self._encoded else ()
        commit = Commit(
            operation.title, flow.origin, envelope.path, ended.writes, outbox, request,
            b"" if outcome is None else codec.encode(outcome), record, envelope.at,
        )  # fmt: skip
        rows = {(table, key): 1 for table, key, _ in ended.writes}
        if rows:
            self._pending[operation.component].update(rows)
        await self.host.ledger.commit(commit)
        if rows:
            self._landed(operation.component, rows)
        if outbox and (self._relay is None or self._relay.done()):
            self._relay = self.host.spawn(self.relay())
        return children, outcome

    def _landed(self, component: str, rows: dict[tuple[str, str], int]) -> None:
        pending = self._pending[component]
        for row in rows:
            pending.pop(row, None)
        landed = set(rows)
        for effect in self._active[component]:
            if effect.touches(landed):
                effect.stale = True

    def _child(self, flow: Flow, ended: Ended, index: int, event: Event) -> Child:
        parent, trace = ended.envelope, ended.call.trace
        path = f"{parent.path}/{ended.operation.title}#{index:03d}"
        body = codec.encode(event) if self._encoded else b""
        header = "" if trace is None else trace.traceparent
        kind = type(event).__name__
        return Envelope(kind, event.entity, body, parent.at, flow.origin, path, "", parent.tenant, header), event

    # -- outcomes

    def _outcome(self, ended: Ended) -> Outcome:
        arguments = fingerprint(codec.encode(ended.value))
        error = ended.error
        if error is None:
            return Outcome(arguments, answer=codec.encode(ended.answer))
        if isinstance(error, Fault):
            return Outcome(arguments, answer=codec.encode(error.body), fault=type(error).__name__)
        if isinstance(error, Failed):
            return Outcome(arguments, failure=(error.component, error.operation, error.cause))
        return Outcome(arguments, refusal=str(error))

    def outcome(self, envelope: Envelope, flow: Flow | None) -> Outcome:
        """Return how a command ended, of this attempt or of an earlier one with the same request id."""
        if flow is not None and flow.outcome is not None:
            return cast(Outcome, flow.outcome)
        stored = self.host.ledger.outcome(request_name(envelope))
        if stored is None:
            raise Lost(f"{envelope.kind}: the end of request {envelope.request!r} is no longer kept; look at its effect")
        found: Outcome = codec.decode(stored, Outcome)
        return found

    def opened(self, operation: Operation, outcome: Outcome) -> Any:
        """Return the answer that an outcome holds, or raise what it holds."""
        if outcome.fault:
            kind = next(kind for kind in operation.faults if kind.__name__ == outcome.fault)
            body = codec.decode(outcome.answer, fault_body(kind))
            raise kind(**{name: getattr(body, name) for name in body.__struct_fields__})
        if outcome.failure:
            raise Failed(*outcome.failure)
        if outcome.refusal:
            raise Refused(outcome.refusal)
        return codec.decode(outcome.answer, operation.result())

    async def once(self, door: Door, parent: Call, given: tuple[Any, ...]) -> Any:
        """Answer a query that cannot repeat its answer: recorded before it is used, recalled in every later attempt."""
        assert parent.effect is not None
        asked = sum(what == door.operation.title for what, _, _ in parent.effect.tape)
        name = f"{parent.origin}{parent.path}/{parent.component}.{parent.operation}?{door.operation.title}#{asked}"
        kept = self.host.options.recalled
        stored = kept.get(name) if kept is not None else self.host.ledger.outcome(name)
        if stored is not None:
            return codec.decode(stored, door.operation.result())
        answer = await door.run(door.derived(parent), given)
        stored = codec.encode(answer)
        if kept is not None:
            kept[name] = stored
        await self.host.ledger.commit(Commit(name, parent.origin, parent.path, request=name, outcome=stored, at=parent.at))
        return answer

    # -- after the commit

    def record(self, ended: Ended) -> Record:
        """Return the decision record of a delivery."""
        body = ended.envelope.body or codec.encode(ended.value)
        facts = {
            "kind": ended.envelope.kind,
            "writes": tuple((t, k, v if v is None or self._encoded else codec.encode(v)) for t, k, v in ended.writes),
            "answer": b"" if ended.error else codec.encode(ended.answer),
            "error": "" if ended.error is None else mask(f"{type(ended.error).__name__}: {ended.error}"),
            "attempts": ended.attempts,
        }
        return record_of(ended.operation, ended.call, body, ended.events, facts)

    async def relay(self) -> None:
        """Carry committed events to the log, in the order of their commits, until none is left."""
        host = self.host
        while numbered := host.ledger.outbox():
            await host.log.relay(host.plan.app.name, numbered)
            await host.ledger.relayed([number for number, _ in numbered])

    async def flushed(self) -> None:
        """Return once every committed event is in the log."""
        while self._relay is not None and not self._relay.done():
            await asyncio.wait([self._relay])

    def finished(self) -> None:
        """Move the floor, now and then: it is a hint that shortens the next start."""
        self._until_finish -= 1
        if self._until_finish <= 0 or (self._encoded and not self.host.flights.flows):
            self._until_finish = 64
            floor = self.host.flights.floor()
            self.host.ledger.finish(floor)
            self.host.log.acknowledge(self.host.plan.app.name, floor)


def request_name(envelope: Envelope) -> str:
    """Return the name under which the outcome of a command is kept."""
    return f"{envelope.tenant}/{envelope.kind}/{envelope.request}"
