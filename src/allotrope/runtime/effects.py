"""Effects: one delivery becomes one transaction, whatever fails, is repeated or runs beside it.

The order is: run, commit (inbox, state, outbox, outcome and record together), answer, relay. A crash before the commit
repeats the run; one after it finds the name in the inbox. So each delivery has one effect.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.calls import NEVER, Call, Effect
from allotrope.kernel.errors import Expired, Failed, Lost, Overloaded, Refused
from allotrope.kernel.messages import Event, Fault, fault_body
from allotrope.kernel.operations import Operation, events_of
from allotrope.runtime.doors.dispatch import Door
from allotrope.runtime.flows import Flow, woken
from allotrope.runtime.parts import Parts
from allotrope.runtime.records import Outcome, Record, fingerprint, record_of
from allotrope.runtime.routes import Delivery
from allotrope.runtime.telemetry.secrets import mask
from allotrope.storage.points import reach
from allotrope.storage.ports import Commit, Envelope

ATTEMPTS = 3  # of a handler, before its event is parked
log = logging.getLogger("allotrope")
Child = tuple[Envelope, Event]


class Rows:
    """Who reads and who writes the tables of one component: to find an operation whose reading was overtaken."""

    def __init__(self) -> None:
        """Start with nobody."""
        self.active: list[Effect] = []  # of the operations that run
        self._landing: dict[tuple[str, str], int] = {}  # rows of the commits that are under way
        self._waiting: list[asyncio.Future[None]] = []

    def overtaken(self, effect: Effect) -> bool:
        """Return whether a commit has changed, or is about to change, what an operation has read."""
        return effect.stale or (bool(self._landing) and effect.touches(self._landing))

    def begin(self, rows: Iterable[tuple[str, str]]) -> None:
        """Take note of a commit that is under way."""
        for row in rows:
            self._landing[row] = self._landing.get(row, 0) + 1

    def land(self, rows: Iterable[tuple[str, str]]) -> None:
        """Take note of its end."""
        for row in rows:
            self._landing[row] -= 1
            if not self._landing[row]:
                del self._landing[row]
        self.outdate(rows)
        if self._waiting and not self._landing:
            self._waiting = woken(self._waiting)

    def outdate(self, rows: Iterable[tuple[str, str]]) -> None:
        """Let who has read one of these rows, and still runs, run again."""
        for effect in self.active:
            if effect.touches(rows):
                effect.stale = True

    async def quiet(self) -> None:
        """Return once no commit is under way."""
        while self._landing:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter


class Ended(msgspec.Struct):
    """How one delivery ended, before it is committed."""

    delivery: Delivery
    call: Call
    answer: Any
    error: Exception | None
    attempts: int
    stored: tuple[tuple[str, str, bytes | None], ...] = ()  # its writes as bytes, where somebody needs them

    @property
    def events(self) -> tuple[Event, ...]:
        """Return what it published."""
        answer = self.answer
        if answer is None or self.error is not None:
            return ()
        return (answer,) if isinstance(answer, Event) else events_of(answer)

    @property
    def writes(self) -> dict[tuple[str, str], Any]:
        """Return what it wrote: (table, key) -> value, None for a deletion."""
        return {} if self.error is not None or self.call.effect is None else self.call.effect.writes


class Effects:
    """Runs the deliveries of one host and commits what they do."""

    def __init__(self, parts: Parts) -> None:
        """Serve the host of these parts."""
        self.parts = parts
        self.recent: deque[Ended] = deque(maxlen=1_000)  # the decisions of a host that keeps nothing on disk
        self.parked = 0
        self._encoded, self._ways = parts.durable, parts.routes.ways
        self._disturbance = parts.options.disturbance
        self._plain = not self._encoded and self._disturbance is None  # nothing is kept, nobody watches
        self._rows = {name: Rows() for name, c in parts.plan.app.components.items() if c.needs("table")}
        self._relay: asyncio.Task[None] | None = None
        self._until_finish = 0
        parts.services.once = self.once

    async def take(self, flow: Flow, delivery: Delivery) -> list[Child]:
        """Run one delivery, commit its effect and return the events that it published, those that go somewhere."""
        route = delivery.route
        door = route.doors[0] if len(route.doors) == 1 else self.parts.wiring.door(route.title, delivery.key)
        arguments = delivery.value if route.told else (delivery.value,)
        rows = self._rows.get(route.component)
        dropped = self._disturbance is not None and self._disturbance.twice(route.title)
        attempts = waits = 0
        while True:
            attempts += 1
            call, effect = self._call(flow, delivery)
            if rows is not None:
                rows.active.append(effect)
            answer = error = None
            try:
                answer = await door.run(call, arguments)
            except Exception as raised:
                error = raised
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                # Nobody asked this flow to stop: something that the body awaited was cancelled.
                error = Failed(route.component, route.operation.name, "what it awaited was cancelled")
            finally:
                if rows is not None:
                    rows.active.remove(effect)
            if call.trace is not None:
                status = "ok" if error is None else type(error).__name__
                self.parts.services.tracer.end(call.trace, status, flow.origin, call.path)
            if dropped or (rows is not None and rows.overtaken(effect)):
                dropped, attempts = False, attempts - 1
                if rows is not None:
                    await rows.quiet()
            elif isinstance(error, Overloaded | Expired | Lost):  # load must not decide an answer: once more
                attempts, waits = attempts - 1, waits + 1
                if waits % 16 == 0:
                    log.warning("%s waits for %s at %s", call.origin, error, route.title)
                await asyncio.sleep(0.001 * 2 ** min(waits, 10))
            elif error is None or route.told or isinstance(error, Fault) or attempts == ATTEMPTS:
                break
            else:
                await asyncio.sleep(0.01 * 4**attempts)
        if flow.lost is not None:
            raise Lost(f"stopped while origin {flow.origin} was at work: {flow.lost}")
        ended = Ended(delivery, call, answer, error, attempts)
        if not self._plain or route.told or error is not None:
            return await self._kept(flow, ended)
        self.recent.append(ended)
        if effect.writes and rows is not None:
            await self._written(ended, rows)
        return [] if answer is None else self._children(ended)

    async def _written(self, ended: Ended, rows: Rows) -> None:
        """Commit rows in memory; it does not suspend, so nobody has to know of it before."""
        call, written = ended.call, ended.writes
        writes = tuple([(table, key, row) for (table, key), row in written.items()])
        await self.parts.ledger.commit(Commit(ended.delivery.route.title, call.origin, call.path, writes))
        if rows.active:
            rows.outdate(written)

    def _call(self, flow: Flow, delivery: Delivery) -> tuple[Call, Effect]:
        route, envelope, services = delivery.route, delivery.envelope, self.parts.services
        trace = None
        if flow.trace is not None:
            # An input's header names its sender, not a span of ours.
            cause = envelope.trace if envelope.path else ""
            trace = services.tracer.child(flow.trace, route.title, cause)
        effect = Effect()
        call = Call(
            route.component, route.operation.name, flow.origin, envelope.path, envelope.time, NEVER, envelope.tenant,
            envelope.request, effect, trace, services.seed,
        )  # fmt: skip
        return call, effect

    async def _kept(self, flow: Flow, ended: Ended) -> list[Child]:
        """Commit what there is to commit; answer, where somebody waits for it."""
        delivery, record, writes = ended.delivery, b"", ended.writes
        told = delivery.route.told
        if ended.error is not None and not told:
            self.parked += 1
            name, title = delivery.envelope.name, delivery.route.title
            log.error("parked %s at %s: %s", name, title, mask(str(ended.error)), extra={"call": ended.call})
        if not self._plain:
            ended.stored = _stored(writes)
        if self._encoded:
            record = codec.encode(self.record(ended))
        else:
            self.recent.append(ended)
        if self._disturbance is not None:
            self._disturbance.saw(self.record(ended))
        children = self._children(ended)
        if self._encoded or writes or told:
            outcome = self._outcome(ended) if told else None
            await self._commit(
                ended, tuple([child for child, _ in children] if self._encoded else ()), outcome, record
            )
            if outcome is not None:
                reach("reply.before")
                flow.outcome = outcome
                flow.wake()
                reach("reply.after")
        return children

    async def _commit(
        self, ended: Ended, outbox: tuple[Envelope, ...], outcome: Outcome | None, record: bytes
    ) -> None:
        route, envelope, writes = ended.delivery.route, ended.delivery.envelope, ended.writes
        rows = (
            ended.stored
            if self._encoded
            else tuple((table, key, row) for (table, key), row in writes.items())
        )
        commit = Commit(
            route.title, ended.call.origin, envelope.path, rows, outbox,
            "" if outcome is None else request_name(envelope),
            b"" if outcome is None else codec.encode(outcome), record, envelope.at,
        )  # fmt: skip
        if writes:
            self._rows[route.component].begin(writes)
        await self._patiently(self.parts.ledger.commit, commit)
        if writes:
            self._rows[route.component].land(writes)
        if outbox and (self._relay is None or self._relay.done()):
            self._relay = self.parts.spawn(self.relay())

    def _children(self, ended: Ended) -> list[Child]:
        """Return what it published, each in an envelope; where nothing is kept, only what goes somewhere."""
        encoded, ways = self._encoded, self._ways
        return [
            self._child(ended, index, event)
            for index, event in enumerate(ended.events)
            if encoded or any(ways[type(event).__name__])
        ]

    def _child(self, ended: Ended, index: int, event: Event) -> Child:
        parent, trace = ended.delivery.envelope, ended.call.trace
        # Numbers sort as text: those from a thousand on begin with a letter, which comes after every digit.
        number = f"{index:03d}" if index < 1000 else f"a{index:09d}"
        path = f"{parent.path}/{ended.delivery.route.title}#{number}"
        body = codec.encode(event) if self._encoded else b""
        header = "" if trace is None else trace.traceparent
        kind = type(event).__name__
        return Envelope(
            kind,
            event.entity,
            body,
            parent.at,
            ended.call.origin,
            path,
            "",
            parent.tenant,
            header,
            parent.time,
        ), event

    # -- outcomes

    def _outcome(self, ended: Ended) -> Outcome:
        arguments = fingerprint(codec.encode(ended.delivery.value))
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
        stored = self.parts.ledger.outcome(request_name(envelope))
        if stored is None:
            raise Lost(
                f"{envelope.kind}: the end of request {envelope.request!r} is no longer kept; look at its effect"
            )
        found: Outcome = codec.decode(stored, Outcome)
        return found

    def opened(self, operation: Operation, outcome: Outcome) -> Any:
        """Return the answer that an outcome holds, or raise what it holds."""
        if outcome.fault:
            kind = next((kind for kind in operation.faults if kind.__name__ == outcome.fault), None)
            if kind is None:
                raise Failed(
                    operation.component, operation.name, f"{outcome.fault}, which it no longer declares"
                )
            body = codec.decode(outcome.answer, fault_body(kind))
            raise kind(**{name: getattr(body, name) for name in body.__struct_fields__})
        if outcome.failure:
            raise Failed(*outcome.failure)
        if outcome.refusal:
            raise Refused(outcome.refusal)
        return codec.decode(outcome.answer, self.parts.wiring.doors[operation.title][0].result)

    async def once(self, door: Door, parent: Call, given: tuple[Any, ...]) -> Any:
        """Answer a query that cannot repeat its answer: recorded before it is used, recalled in every later attempt."""
        assert parent.effect is not None
        question = f"{door.title}({fingerprint(codec.encode(given))})"
        asked = parent.effect.asked[question] = parent.effect.asked.get(question, 0) + 1
        name = f"{parent.origin}{parent.path}/{parent.component}.{parent.operation}?{question}#{asked}"
        kept = self.parts.options.recalled
        stored = kept.get(name) if kept is not None else self.parts.ledger.outcome(name)
        if stored is not None:
            return codec.decode(stored, door.result)
        answer = await door.run(door.derived(parent), given)
        stored = codec.encode(answer)
        if kept is not None:
            kept[name] = stored
        await self._patiently(
            self.parts.ledger.commit,
            Commit(name, parent.origin, parent.path, request=name, outcome=stored, at=time.time_ns() // 1000),
        )
        return answer

    # -- after the commit

    def record(self, ended: Ended) -> Record:
        """Return the decision record of a delivery."""
        envelope, operation = ended.delivery.envelope, ended.delivery.route.operation
        body = envelope.body or codec.encode(ended.delivery.value)
        facts = {
            "kind": envelope.kind,
            "writes": ended.stored or _stored(ended.writes),
            "answer": b"" if ended.error else codec.encode(ended.answer),
            "error": "" if ended.error is None else mask(f"{type(ended.error).__name__}: {ended.error}"),
            "attempts": ended.attempts,
        }
        return record_of(operation, ended.call, body, ended.events, facts)

    async def relay(self) -> None:
        """Carry committed events to the log, in the order of their commits, until none is left."""
        parts = self.parts
        while numbered := parts.ledger.outbox():
            await self._patiently(parts.log.relay, parts.plan.app.name, numbered)
            await self._patiently(parts.ledger.relayed, [number for number, _ in numbered])

    async def _patiently(self, write: Callable[..., Awaitable[None]], *what: Any) -> None:
        """Write what was accepted long ago. A store that refuses for a while (a full disk) is asked again."""
        while True:
            try:
                return await write(*what)
            except Refused as error:
                if error.retry_after_s is None:
                    raise
                log.warning("%s; trying again in %.1f s", error, error.retry_after_s)
                await asyncio.sleep(error.retry_after_s)

    async def flushed(self) -> None:
        """Return once every committed event is in the log."""
        while self._relay is not None and not self._relay.done():
            await asyncio.wait([self._relay])

    def finished(self) -> None:
        """Move the floor, now and then: it is a hint that shortens the next start."""
        if self.parts.flights.lost is not None:
            return  # what was given up is not finished
        self._until_finish -= 1
        if self._until_finish <= 0 or (self._encoded and not self.parts.flights.flows):
            self._until_finish = 64
            floor = self.parts.flights.floor()
            self.parts.ledger.finish(floor)
            self.parts.log.acknowledge(self.parts.plan.app.name, floor)


def request_name(envelope: Envelope) -> str:
    """Return the name under which the outcome of a command is kept."""
    return f"{len(envelope.tenant)}/{envelope.tenant}/{envelope.kind}/{envelope.request}"


def _stored(writes: dict[tuple[str, str], Any]) -> tuple[tuple[str, str, bytes | None], ...]:
    return tuple(
        (table, key, None if row is None else codec.encode(row)) for (table, key), row in writes.items()
    )
