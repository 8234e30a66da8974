"""Effects: one delivery becomes one transaction, whatever fails, is repeated or runs beside it.

The order is: run, commit (inbox, state, outbox, outcome and record together), answer, relay. A crash before the commit
repeats the run; one after it finds the name in the inbox. So each delivery has one effect.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from allotrope.kernel import codec
from allotrope.kernel.calls import NEVER, Call, Effect
from allotrope.kernel.errors import Expired, Failed, Lost, Overloaded
from allotrope.kernel.messages import Fault
from allotrope.planning.doors.traits import largest_bytes
from allotrope.runtime.doors.dispatch import Door
from allotrope.runtime.doors.limits import check_steps
from allotrope.runtime.effects.ended import Child, Ended, request_name, stored
from allotrope.runtime.effects.holds import Holds
from allotrope.runtime.effects.letters import Change, DeadLetter, Letters, Parked
from allotrope.runtime.effects.races import Races
from allotrope.runtime.effects.relay import patiently
from allotrope.runtime.flows import Flow
from allotrope.runtime.parts import Parts
from allotrope.runtime.records import Outcome, Record, fingerprint
from allotrope.runtime.routes import Delivery, Route
from allotrope.runtime.telemetry.decisions import Recent
from allotrope.runtime.telemetry.secrets import mask
from allotrope.storage.points import reach
from allotrope.storage.ports import LARGEST, Commit, Envelope

FIRST_S, LONGEST_S = 0.05, 5.0  # at most, before the second attempt of a handler, and before any
log = logging.getLogger("allotrope")


class Effects:
    """Runs the deliveries of one process and commits what they do."""

    def __init__(self, parts: Parts, published: Callable[[], None]) -> None:
        """Serve the process of these parts; `published` is called once there are committed events to relay."""
        self.parts, self._published = parts, published
        self.recent = parts.options.recent or Recent()  # the decisions of a host that keeps nothing durable
        self.parked = 0
        self._encoded, self._ways = parts.durable, parts.routes.ways
        self._disturbance = parts.options.disturbance
        self._plain = not self._encoded and self._disturbance is None  # nothing is kept, nobody watches
        self._shared, self._lease = parts.shared, parts.lease
        self._races = {name: Races() for name, c in parts.plan.app.components.items() if c.needs("table")}
        self.holds = Holds()
        self._refused = self.holds.refused
        self.letters = Letters(parts.ledger, encoded=parts.durable)
        self._largest = largest_bytes(parts.plan.topology)  # of one event, as its log takes them
        parts.services.once = self.once

    def take(self, flow: Flow, delivery: Delivery) -> Coroutine[Any, Any, list[Child]]:
        """Run one delivery, commit its effect and return the events that it published, those that go somewhere."""
        if self.letters.parked or delivery.route.special:
            return self._met(flow, delivery)
        return self._run(flow, delivery)

    async def _met(self, flow: Flow, delivery: Delivery) -> list[Child]:
        """Take a delivery whose key may be parked, or that comes again."""
        if delivery.route.told and delivery.route.special:
            return await self._redriven(flow, delivery)
        delivery, letter, why = self.letters.met(delivery, self.parts.routes.kinds)
        if why is not None:
            return await self._unrun(flow, delivery, why, letter, 0)
        return await self._run(flow, delivery, letter)

    async def _run(self, flow: Flow, delivery: Delivery, letter: DeadLetter | None = None) -> list[Child]:
        route = delivery.route
        door = route.doors[0] if len(route.doors) == 1 else self.parts.wiring.door(route.title, delivery.key)
        arguments = delivery.value if route.told else (delivery.value,)
        races = self._races.get(route.component)
        dropped = self._disturbance is not None and self._disturbance.twice(route.title)
        attempts, waits, mark, began = 0, 0, -1, 0
        while True:
            attempts += 1
            if self._shared is not None:
                mark = self._shared.mark()
            call, effect = self._call(flow, delivery)
            if races is not None:
                races.active.append(effect)
            answer = error = None
            try:
                answer = await door.run(call, arguments)
                check_steps(call, answer)
            except Exception as raised:
                error = raised
            finally:
                if races is not None:
                    races.active.remove(effect)
            if call.trace is not None:
                self._traced(call, error)
            if dropped or (races is not None and races.overtaken(effect)):
                dropped, attempts = False, attempts - 1
                if races is not None:
                    await races.quiet()
            elif isinstance(error, Overloaded | Expired | Lost):  # load must not decide an answer: once more
                attempts, waits = attempts - 1, waits + 1
                await self._late(waits, call, error)
            elif error is None or route.told or isinstance(error, Fault) or attempts >= self._attempts(route):
                break
            else:
                began = began or time.time_ns() // 1000
                self.holds.note(call, f"it has failed {attempts} times, and is tried again: {error}")
                await self._pause(self._backoff(call, attempts))
        if self.holds.held:
            self.holds.end(call)
        if flow.lost is not None:
            raise Lost(f"stopped while origin {flow.origin} was at work: {flow.lost}")
        ended = Ended(delivery, call, answer, error, attempts, mark, began)
        if not self._plain or route.told or error is not None or letter is not None:
            return await self._kept(flow, ended, letter)
        self.recent.add(ended)
        if effect.writes and races is not None:
            await self._written(ended, races)
        return [] if answer is None else self._children(ended)

    async def give_up(self, flow: Flow, delivery: Delivery, cause: str) -> list[Child]:
        """Commit that a delivery has failed, without running it: each attempt has ended the process that made it."""
        delivery, letter, why = self.letters.met(delivery, self.parts.routes.kinds)
        error = why or Failed(delivery.route.component, delivery.route.operation.name, cause)
        return await self._unrun(flow, delivery, error, letter, self._attempts(delivery.route))

    async def _unrun(
        self, flow: Flow, delivery: Delivery, error: Exception, letter: DeadLetter | None, attempts: int
    ) -> list[Child]:
        """Commit that a delivery has ended so, without running it here."""
        call, _ = self._call(flow, delivery)
        if call.trace is not None:
            self._traced(call, error)
        return await self._kept(flow, Ended(delivery, call, None, error, attempts, self._mark()), letter)

    async def _redriven(self, flow: Flow, delivery: Delivery) -> list[Child]:
        """Commit what the command of redrive does: what it publishes are the deliveries to come."""
        call, _ = self._call(flow, delivery)
        published, answer = self.letters.ordered(delivery.route.component, delivery.value)
        if call.trace is not None:
            self._traced(call, None)
        ended = Ended(delivery, call, answer, None, 1, self._mark(), published=published)
        return await self._kept(flow, ended)

    def _mark(self) -> int:
        return -1 if self._shared is None else self._shared.mark()

    def _attempts(self, route: Route) -> int:
        return self.parts.plan.topology.limit_of(route.component).attempts

    def _backoff(self, call: Call, attempts: int) -> float:
        """Return a pause before the next attempt, drawn so that others who failed with it do not come back with it."""
        name = f"{call.seed}/{call.origin}{call.path}/{call.component}.{call.operation}#{attempts}"
        return Random(name).uniform(0.0, min(FIRST_S * 4 ** (attempts - 1), LONGEST_S))

    async def _late(self, waits: int, call: Call, error: Exception) -> None:
        self.holds.note(call, f"it is tried again until it gets through: {error}")
        if waits % 16 == 0:
            log.warning("%s waits for %s at %s.%s", call.origin, error, call.component, call.operation)
        await self._pause(0.001 * 2 ** min(waits, 10))

    async def _pause(self, seconds: float) -> None:
        """Wait before another attempt; hardly at all in a check, where time decides nothing."""
        await asyncio.sleep(seconds if self._disturbance is None else min(seconds, 0.001))

    def _traced(self, call: Call, error: Exception | None) -> None:
        status = "ok" if error is None else type(error).__name__
        self.parts.services.tracer.end(call.trace, status, call.origin, call.path)

    async def _written(self, ended: Ended, races: Races) -> None:
        """Commit rows in memory; it does not suspend, so nobody has to know of it before."""
        call, written = ended.call, ended.writes
        writes = tuple([(table, key, row) for (table, key), row in written.items()])
        await self.parts.ledger.commit(Commit(ended.delivery.route.title, call.origin, call.path, writes))
        if races.active:
            races.outdate(written)

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

    async def _kept(self, flow: Flow, ended: Ended, letter: DeadLetter | None = None) -> list[Child]:
        """Commit what there is to commit; answer, where somebody waits for it. `letter` is what came again."""
        children, new = self._children(ended), True
        if children:
            sizes = [len(child.body) for child, _ in children]
            if sum(sizes) > LARGEST or max(sizes) > self._largest:
                children, ended.error = [], _too_large(ended, sum(sizes), min(self._largest, LARGEST))
        delivery, record, writes = ended.delivery, b"", ended.writes
        told = delivery.route.told
        if not self._plain:
            ended.stored = stored(writes)
        if self._encoded:
            record = codec.encode(ended.record(self.parts.options.release))
        else:
            self.recent.add(ended)
        if self._disturbance is not None:
            self._disturbance.saw(ended.record())
        change = self.letters.change(ended, letter, time.time_ns() // 1000)
        if self._encoded or writes or told or change is not None:
            outcome = ended.outcome() if told else None
            outbox = tuple([child for child, _ in children] if self._encoded else ())
            new = await self._commit(ended, outbox, outcome, record, change)
            if not new:
                children, outcome = self._earlier(ended, children), self._known(ended, outcome)
            if outcome is not None:
                reach("reply.before")
                flow.outcome = outcome
                flow.wake()
                reach("reply.after")
        if new and ended.error is not None and not told:
            self._told(
                ended, "parked" if change is not None else "not run" if letter is not None else "failed"
            )
        return children

    def _told(self, ended: Ended, what: str) -> None:
        """Count and log that an event was not taken."""
        self.parked += what == "parked"
        name, title = ended.delivery.envelope.name, ended.delivery.route.title
        level = logging.INFO if isinstance(ended.error, Parked) else logging.ERROR
        log.log(
            level, "%s %s at %s: %s", what, name, title, mask(str(ended.error)), extra={"call": ended.call}
        )

    async def _commit(
        self,
        ended: Ended,
        outbox: tuple[Envelope, ...],
        outcome: Outcome | None,
        record: bytes,
        change: Change | None,
    ) -> bool:
        """Return whether it is committed now, and not by an earlier attempt of which nobody heard."""
        route, envelope, writes = ended.delivery.route, ended.delivery.envelope, ended.writes
        rows = (
            ended.stored
            if self._encoded
            else tuple((table, key, row) for (table, key), row in writes.items())
        )
        commit = Commit(
            route.title, ended.call.origin, envelope.path, (*rows, *self.letters.rows(change)), outbox,
            "" if outcome is None else request_name(envelope),
            b"" if outcome is None else codec.encode(outcome), record, envelope.at,
            None if self._lease is None else self._lease(ended.delivery.key), self._read(ended), ended.mark,
        )  # fmt: skip
        if writes:
            self._races[route.component].begin(writes)
        try:
            new: bool = await patiently(self.parts.ledger.commit, commit, told=self._refused)
            if self.holds.store is not None:
                self.holds.store = None
        finally:
            if writes:
                self._races[route.component].land(writes)
        if change is not None:
            self.letters.apply(change) if new else self.letters.load()
        if outbox:
            self._published()
        return new

    def _read(self, ended: Ended) -> tuple[tuple[str, str | None], ...]:
        effect = ended.call.effect
        return () if self._shared is None or effect is None else tuple(effect.reads)

    def _earlier(self, ended: Ended, children: list[Child]) -> list[Child]:
        """Return what an earlier attempt at this delivery has published, if its record is still kept."""
        title, call = ended.delivery.route.title, ended.call
        for consumer, _, path, data in self.parts.ledger.records(call.origin):
            if (consumer, path) == (title, call.path):
                record = codec.decode(data, Record)
                events = [codec.decode(body, self.parts.routes.kinds[kind]) for kind, body in record.events]
                return [ended.child(index, event, encoded=True) for index, event in enumerate(events)]
        return children

    def _known(self, ended: Ended, outcome: Outcome | None) -> Outcome | None:
        """Return how an earlier attempt at this command has ended."""
        stored = None if outcome is None else self.parts.ledger.outcome(request_name(ended.delivery.envelope))
        return outcome if stored is None else codec.decode(stored, Outcome)

    def _children(self, ended: Ended) -> list[Child]:
        """Return what it published, each in an envelope; where nothing is kept, only what goes somewhere."""
        encoded, ways, watched = self._encoded, self._ways, self.parts.routes.watched
        return [
            ended.child(index, event, encoded=encoded)
            for index, event in enumerate(ended.events)
            if encoded or watched or any(ways[type(event).__name__])
        ]

    async def once(self, door: Door, parent: Call, given: tuple[Any, ...]) -> Any:
        """Answer a query that cannot repeat its answer: recorded before it is used, recalled in every later attempt."""
        assert parent.effect is not None
        question = f"{door.title}({fingerprint(codec.encode(given))})"
        asked = parent.effect.asked[question] = parent.effect.asked.get(question, 0) + 1
        name = f"{parent.origin}{parent.path}/{parent.component}.{parent.operation}?{question}#{asked}"
        kept = self.parts.options.recalled
        stored = (kept or {}).get(name) or self.parts.ledger.outcome(name)
        if stored is not None:
            return codec.decode(stored, door.result)
        answer = await door.watched(parent, given)
        stored = codec.encode(answer)
        commit = Commit(
            name, parent.origin, parent.path, request=name, outcome=stored, at=time.time_ns() // 1000
        )
        if not await patiently(self.parts.ledger.commit, commit):  # another attempt beside this one was first
            stored = self.parts.ledger.outcome(name) or stored
            answer = codec.decode(stored, door.result)
        if kept is not None:
            kept[name] = stored
        return answer


def _too_large(ended: Ended, size: int, most: int) -> Failed:
    operation = ended.delivery.route.operation
    text = f"it publishes {size:,} bytes, and {most:,} are the most; keep them in a file, and publish where it is"
    return Failed(operation.component, operation.name, text)
