"""A station: one process of a unit. It runs the deliveries that a host sends, answers queries, and holds views.

Not here: which replica holds which partition, and for how long (`engines`).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from time import perf_counter
from typing import Any

from allotrope.kernel import codec
from allotrope.kernel.calls import NEVER, Call, current
from allotrope.kernel.errors import Corrupted, Failed, Lost, Overloaded, Refused
from allotrope.kernel.messages import Fault
from allotrope.kernel.operations import Operation
from allotrope.planning.plans import Plan
from allotrope.runtime.doors.dispatch import Door, Services
from allotrope.runtime.doors.graces import cancelled
from allotrope.runtime.effects.ended import Child
from allotrope.runtime.effects.holds import Hold
from allotrope.runtime.effects.letters import Found, Search, found
from allotrope.runtime.effects.taking import Effects
from allotrope.runtime.flows import Flow, woken
from allotrope.runtime.options import Options
from allotrope.runtime.parts import Parts
from allotrope.runtime.records import Record, figures
from allotrope.runtime.routes import Delivery, Routes, delivery, key_of
from allotrope.runtime.sites.here import encoded, inputs_of, rows_of
from allotrope.runtime.sites.mirrors import Mirrors
from allotrope.runtime.sites.site import Contents
from allotrope.runtime.sites.trials import Trials
from allotrope.runtime.sites.wire import (
    LARGE,
    Letter,
    Method,
    Question,
    Sent,
    Served,
    Sought,
    Taken,
    Trial,
    answered,
    portion,
    thrown,
    too_long,
    unpacked,
)
from allotrope.runtime.telemetry.meters import Meter
from allotrope.runtime.tracing import Span, Tracer
from allotrope.runtime.wiring import Links, Wiring
from allotrope.storage.partitions import partition_of
from allotrope.storage.points import reach
from allotrope.storage.ports import Fenced, Ledger, Overtaken, SharedLedger

log = logging.getLogger("allotrope")
_question = codec.decoder(Question).decode


class Station:
    """The components of one unit in this process, with the unit's ledger."""

    def __init__(
        self,
        plan: Plan,
        unit: str,
        ledger: Ledger | SharedLedger,
        links: Links,
        options: Options | None = None,
    ) -> None:
        """Build and connect them; `links` reach what is not of the unit. Its replicas may share a ledger."""
        self.plan, self.unit, self.ledger = plan, unit, ledger
        self.options = options or Options()
        self.services = Services(self.options.tracer or Tracer())
        self.services.now, self.services.seed = self.options.now, self.options.seed
        self.wiring = Wiring(plan, ledger, self.services, links)
        self.routes = Routes(plan, self.wiring)
        self.shared = shared = ledger if isinstance(ledger, SharedLedger) and ledger.shared else None
        parts = Parts(
            plan=plan, options=self.options, ledger=ledger, services=self.services, wiring=self.wiring,
            routes=self.routes, spawn=self._spawn, shared=shared, lease=self._lease if shared else None,
        )  # fmt: skip
        self.leases: dict[int, int] = {}  # partition -> epoch
        self.effects = Effects(parts, lambda: None)
        self._told = (0, 0)  # of what replies tell
        self.mirrors = Mirrors(unit, self.wiring.views, self.routes)
        self.busy: dict[int, int] = {}  # partition -> how many deliveries run in it
        self._idle: list[asyncio.Future[None]] = []
        self.trials = Trials(self._at_work)
        self.closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def served(self) -> Served:
        """Return what this station answers to."""
        methods: dict[str, Callable[[Letter, float | None], Awaitable[Any]]] = {
            "ask": self._ask, "read": self._read, "deliver": self._deliver, "begin": self._begin, "claim": self._claim,
            "release": self._release, "outbox": self._outbox, "relayed": self._relayed,
            "outcome": self._outcome, "letters": self._letters, "holds": self._holds, "trial": self._trial,
            "contents": self._contents, "meters": self._meters,
            "feed": self.mirrors.feed, "states": self.mirrors.states, "defined": self.mirrors.defined,
            "finish": self._finished,
        }  # fmt: skip
        return Served(
            {name: self._replying(name, method) for name, method in methods.items()}, {"stream": self._stream}
        )

    @property
    def loaded(self) -> bool:
        """Return whether its views hold all that they should."""
        return self.mirrors.loaded

    @property
    def broken(self) -> str:
        """Return why this process can do nothing more, "" while all is well."""
        return "" if self.shared is None else self.shared.stopped

    def doors(self, operation: Operation) -> list[Door]:
        """Return the doors of an operation."""
        return self.wiring.doors.get(operation.title, [])

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- queries and views

    async def _ask(self, letter: Letter, left_s: float | None) -> Any:
        self.mirrors.level()
        door, asked, arguments = self._asked(letter)
        if self.trials.on:
            await self.trials.passed(asked.origin, asked.path)
        if asked.trace or left_s is None:
            return await door.watched(asked.parent(_deadline(left_s), _span(asked.trace)), arguments)
        # Who asks has its timer running, and lets go at the deadline: this side needs none.
        call = Call(
            door.component, door.name, asked.origin, asked.path, asked.at, perf_counter() + left_s, asked.tenant,
            asked.request, None, None, asked.seed,
        )  # fmt: skip
        return await door.run(call, arguments)

    def _asked(self, letter: Letter) -> tuple[Door, Question, tuple[Any, ...]]:
        asked: Question = _question(letter.body)
        door = self.wiring.door(asked.title, "")
        return door, asked, unpacked(letter, door.decoded, asked.arguments)

    async def _stream(self, letter: Letter, left_s: float | None) -> AsyncGenerator[Letter, None]:
        door, asked, arguments = self._asked(letter)
        token = current.set(asked.parent(_deadline(left_s), _span(asked.trace)))
        try:
            self.mirrors.level()
            await self.trials.passed(asked.origin, asked.path)
            async with aclosing(door.stream(*arguments)) as pieces:
                async for piece in pieces:
                    yield _bounded(answered(piece), door.title)
        except Exception as error:
            yield thrown(error)
        finally:
            current.reset(token)

    async def _read(self, letter: Letter, left_s: float | None) -> bytes:
        sought = codec.decode(letter.body, Sought)
        self.mirrors.level()
        view, above, tracer = self.wiring.views[sought.view], _span(sought.trace), self.services.tracer
        span = None if above is None else tracer.child(above, f"{sought.view}.of")
        if sought.at is None:
            found = await view.of(sought.key)
        else:
            found = view.reading(sought.key, sought.at, sought.origin)
        if span is not None:
            tracer.end(span)
        return codec.encode(figures(found))

    # -- deliveries

    async def _deliver(self, letter: Letter, left_s: float | None) -> Taken:
        sent = codec.decode(letter.body, Sent)
        self.mirrors.level()
        envelope = sent.envelope
        if sent.ticket and not self.trials.holds(sent.ticket):
            raise Refused(f"unit `{self.unit}`: {envelope.name} has this process no more to itself")
        if self.trials.on and not sent.ticket:
            await self.trials.passed(-1, "")
        partition = self._partition(key_of(envelope))
        if self.shared is not None and partition not in self.leases:
            raise Refused(f"partition {partition} of {self.unit} is not held here; ask its holder", 0.05)
        route = self.routes.commands.get(sent.title) or next(
            route for route in self.routes.to(envelope)[1] if route.title == sent.title
        )
        if route.told:
            value: Any = self.wiring.door(sent.title, "").decoded(envelope.body)
        else:
            value = codec.decode(envelope.body, self.routes.kinds[envelope.kind])
        self.ledger.finish(sent.floor)
        flow = Flow(envelope.origin)
        flow.trace = _span(sent.trace)
        work = delivery(route, envelope, value)
        self.busy[partition] = self.busy.get(partition, 0) + 1
        try:
            children = await self._taken(flow, work, sent.given_up)
        finally:
            self.trials.end(sent.ticket)
            self.busy[partition] -= 1
            if not self.busy[partition]:
                del self.busy[partition]
                self._idle = woken(self._idle)
        outcome = b"" if flow.outcome is None else codec.encode(flow.outcome)
        return Taken(tuple(child for child, _ in children), outcome, *self._news())

    def _news(self) -> tuple[int, int]:
        """Return how many events were parked and how many deliveries repeated since this was last asked for."""
        disturbance = self.options.disturbance
        now = self.effects.parked, 0 if disturbance is None else disturbance.repeats
        (parked, repeats), self._told = self._told, now
        return now[0] - parked, now[1] - repeats

    async def _taken(self, flow: Flow, work: Delivery, given_up: str) -> list[Child]:
        while True:
            try:
                if given_up:
                    return await self.effects.give_up(flow, work, given_up)
                return await self.effects.take(flow, work)
            except Overtaken as error:
                log.info("%s at %s runs again: %s", work.envelope.name, work.route.title, error)
            except Fenced as error:  # its holder has it, and does it
                log.warning("%s at %s had no effect: %s", work.envelope.name, work.route.title, error)
                raise

    async def _trial(self, letter: Letter, left_s: float | None) -> int:
        """Return the ticket with which a delivery has this process to itself, 0 when that cannot be had now."""
        trial = codec.decode(letter.body, Trial)
        return await self.trials.begin(trial.origin, trial.path, trial.hold_s)

    def _at_work(self) -> bool:
        return bool(self.busy) or any(meter.running for meter in self.services.meters.values())

    # -- partitions

    def _partition(self, key: str) -> int:
        return partition_of(key, self.plan.topology.partitions)

    def _lease(self, key: str) -> tuple[int, int]:
        partition = self._partition(key)
        return partition, self.leases.get(partition, -1)

    async def _claim(self, letter: Letter, left_s: float | None) -> None:
        """Hold partitions from now on, each under the epoch that it is given with."""
        leases = codec.decode(letter.body, dict[int, int])
        if self.shared is not None:
            await self.shared.claim(leases)
            self.effects.letters.load()  # who had them before may have parked keys
        self.leases.update(leases)

    async def _release(self, letter: Letter, left_s: float | None) -> None:
        """Let go of partitions, once nothing runs in them any more."""
        reach("release.before")
        given_up = codec.decode(letter.body, tuple[int, ...])
        for partition in given_up:
            self.leases.pop(partition, None)
        while any(partition in self.busy for partition in given_up):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            await waiter
        reach("release.after")

    # -- what is kept

    async def _begin(
        self, letter: Letter, left_s: float | None
    ) -> tuple[int, tuple[tuple[str, int, str], ...]]:
        return self.ledger.floor(), tuple(inputs_of(self.ledger))

    async def _outbox(self, letter: Letter, left_s: float | None) -> Any:
        return portion(self.ledger.outbox(), lambda numbered: numbered[1])

    async def _relayed(self, letter: Letter, left_s: float | None) -> None:
        await self.ledger.relayed(codec.decode(letter.body, tuple[int, ...]))

    async def _finished(self, letter: Letter, left_s: float | None) -> None:
        """Write down that everything below a floor is finished."""
        self.ledger.finish(codec.decode(letter.body, int))
        await self.ledger.relayed(())  # a write, which takes the floor along

    async def _outcome(self, letter: Letter, left_s: float | None) -> bytes | None:
        return self.ledger.outcome(codec.decode(letter.body, str))

    async def _letters(self, letter: Letter, left_s: float | None) -> Found:
        return found(self.ledger.scan, codec.decode(letter.body, Search))

    async def _holds(self, letter: Letter, left_s: float | None) -> tuple[Hold, ...]:
        return self.effects.holds.all(self.unit)

    async def _contents(self, letter: Letter, left_s: float | None) -> Contents:
        records = tuple(codec.decode(data, Record) for *_, data in self.ledger.records())
        views = {name: view.entries() for name, view in self.wiring.views.items()}
        return Contents(rows_of(self.plan, self.ledger, self.wiring.home), encoded(views), records)

    async def _meters(self, letter: Letter, left_s: float | None) -> tuple[int, tuple[Meter, ...]]:
        return self.options.release, tuple(meter for meter in self.services.meters.values() if meter.started)

    def _replying(self, name: str, method: Callable[[Letter, float | None], Awaitable[Any]]) -> Method:
        async def reply(letter: Letter, left_s: float | None) -> Letter:
            try:
                reply = answered(await method(letter, left_s))
                return _bounded(reply, name, letter) if reply.arrays or len(reply.body) > LARGE else reply
            except (Fault, Failed, Lost, Corrupted) as error:
                return thrown(error)
            except Exception as error:
                if self.closed:  # what its files say now is no answer
                    return thrown(Lost(f"unit `{self.unit}` was ended in the middle of it"))
                if self.broken:
                    return thrown(Overloaded(f"unit `{self.unit}`: {error}", 0.5))
                if isinstance(error, Refused):
                    return thrown(error)
                log.exception("unit %s failed at %s", self.unit, name)
                return thrown(Failed(self.unit, name, f"{type(error).__name__}: {error}"))

        return reply

    async def close(self) -> None:
        """Stop, and release the file."""
        self.closed = True
        await cancelled(self._tasks)
        self.services.pool.shutdown(wait=False, cancel_futures=True)
        self.ledger.close()


def _bounded(reply: Letter, title: str, asked: Letter | None = None) -> Letter:
    """Return a reply that can be sent; Failed otherwise, in the name of what was asked for."""
    if why := too_long(reply):
        if title == "ask" and asked is not None:
            title = codec.decode(asked.body, Question).title
        component, _, operation = title.rpartition(".")
        raise Failed(component or "unit", operation, f"its answer has {why}")
    return reply


def _deadline(left_s: float | None) -> float:
    return NEVER if left_s is None else perf_counter() + left_s


def _span(header: str) -> Span | None:
    """Return the caller's span, as the parent of what happens here; None when its trace is not kept."""
    if not header:
        return None
    _, trace_id, span_id, flags = header.split("-")
    return Span(int(trace_id, 16), int(span_id, 16), 0, "", 0) if int(flags, 16) & 1 else None
