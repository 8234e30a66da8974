"""Inputs: how events and commands come in, and what can be told of one afterwards.

Not here: how an input gets its origin (`entrance`), what it leads to (`host`).
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, cast

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Lost, Refused, nearest
from allotrope.kernel.messages import Event
from allotrope.kernel.views import micros
from allotrope.planning.doors.traits import largest_bytes
from allotrope.planning.plans import Plan
from allotrope.runtime.effects.ended import opened
from allotrope.runtime.effects.letters import Search
from allotrope.runtime.flows import Flights, Flow
from allotrope.runtime.intake.entrance import Entrance
from allotrope.runtime.options import Input
from allotrope.runtime.records import Outcome
from allotrope.runtime.sites.site import Site
from allotrope.runtime.tracing import check_traceparent
from allotrope.storage.ports import Envelope

State = Literal["accepted", "running", "waiting", "done", "parked"]


class Receipt(msgspec.Struct, eq=False, gc=False):
    """An input that was accepted: what came in, its origin, and its flow where that is not over."""

    envelope: Envelope
    origin: int
    flow: Flow | None = None


class Standing(msgspec.Struct, frozen=True):
    """How far an input has come. `outcome` is that of a command; `waits` says for what."""

    state: State
    outcome: Outcome | None = None
    settled: bool = False  # whether all that it has led to is done as well
    waits: str = ""


class Inputs:
    """Takes inputs for one host, and knows them again."""

    def __init__(
        self, plan: Plan, flights: Flights, site: Site, entrance: Entrance,
        finished: Callable[[Flow], Awaitable[None]],
    ) -> None:  # fmt: skip
        """Wait with `finished` for whole chains, where the topology replies after them."""
        self.plan, self.flights, self.site, self.entrance = plan, flights, site, entrance
        self.durable, self.chain = plan.topology.durability != "none", plan.topology.reply == "chain"
        self.largest = largest_bytes(plan.topology)
        self._finished = finished

    # -- in

    async def event(self, event: Event, given: Input) -> Receipt:
        """Accept an event."""
        kind, routes = type(event).__name__, self.site.routes
        if routes.kinds.get(kind) is not type(event):
            raise Refused(f"app {self.plan.app.name} has no use for {kind}. {nearest(kind, routes.kinds)}")
        body = codec.encode(event) if self.durable or given.request else b""
        envelope = self._envelope(kind, event.entity, body, given)
        flow, origin = await self.entrance.accept(envelope, event)
        return Receipt(envelope, origin, flow)

    async def command(self, title: str, arguments: tuple[Any, ...], given: Input) -> Receipt:
        """Accept a command; the same request id gives the input that came with it before."""
        route = self.site.routes.commands.get(title)
        if route is None:
            commands = self.site.routes.commands.values()
            known = ", ".join(each.title for each in commands if not each.special)
            raise Refused(f"app {self.plan.app.name} has no command `{title}`; it has {known}")
        arguments = self.site.wiring.door(title, "").arguments(arguments, {})
        key = str(arguments[route.key_index]) if route.key_index >= 0 else ""
        if not given.request:
            given = msgspec.structs.replace(given, request=self.site.services.tracer.fresh_id())
        envelope = self._envelope(title, key, codec.encode(arguments), given)
        flow, origin = await self.entrance.accept(envelope, arguments)
        return Receipt(envelope, origin, flow or self.flights.flow(origin))

    def _envelope(self, kind: str, key: str, body: bytes, given: Input) -> Envelope:
        if len(body) > self.largest:
            text = f"{kind} has {len(body):,} bytes, and {self.largest:,} are the most; keep them in a file, and send"
            raise Refused(f"{text} where it is")
        moment = self.site.services.now() if given.at is None else micros(given.at)
        trace = check_traceparent(given.traceparent) if given.traceparent else ""
        if not (given.request.isascii() and given.tenant.isascii()):
            try:
                (given.request + given.tenant).encode()
            except UnicodeEncodeError as error:
                raise Refused(
                    f"{kind}: request id or tenant is no text that can be written: {error}"
                ) from None
        at = time.time_ns() // 1000  # a caller's time says nothing on how long its request id is kept
        return Envelope(kind, key, body, at, 0, "", given.request, given.tenant, trace, moment)

    # -- what becomes of one

    async def published(self, receipt: Receipt) -> None:
        """Return once an event has had as much effect as the topology promises with its reply."""
        if self.chain and receipt.flow is not None:
            await self._finished(receipt.flow)

    async def replied(self, receipt: Receipt) -> None:
        """Return once a command has its outcome; where the topology replies after the chain, that is over too."""
        flow = receipt.flow
        if flow is not None and flow.outcome is None:
            await self._finished(flow) if self.chain else await flow.replied()

    async def answer(self, receipt: Receipt) -> Any:
        """Return the reply of a command that has its outcome; raise its declared fault, or Failed."""
        envelope, flow = receipt.envelope, receipt.flow
        if flow is not None and flow.outcome is not None:
            outcome = cast(Outcome, flow.outcome)
        elif (kept := await self.outcome(envelope)) is not None:
            outcome = kept
        else:
            text = f"{envelope.kind}: the end of request {envelope.request!r} is no longer kept"
            raise Lost(f"{text}; look at its effect")
        return self.opened(envelope.kind, outcome)

    def opened(self, title: str, outcome: Outcome) -> Any:
        """Return the reply that an outcome holds, or raise what it holds."""
        operation = self.site.routes.commands[title].operation
        return opened(operation, outcome, self.site.wiring.door(title, "").result)

    async def outcome(self, envelope: Envelope) -> Outcome | None:
        """Return how a command ended, by its tenant, kind and request id; None where that is not kept."""
        stored = await self.site.outcome(envelope)
        return None if stored is None else cast(Outcome, codec.decode(stored, Outcome))

    async def standing(self, receipt: Receipt) -> Standing | None:
        """Return how far an input has come; None when nobody knows it, or any more. Its flow is looked for anew."""
        origin, envelope = receipt.origin, receipt.envelope
        if not 0 < origin <= self.flights.newest:
            return None
        command = envelope.kind in self.site.routes.commands
        flow = receipt.flow = self.flights.flow(origin)
        if flow is None or flow.over:
            found = await self.outcome(envelope) if command else None
            if command and found is None:
                return None
            parked = (await self.site.letters(Search(name=str(origin), limit=1))).letters
            if parked:
                title = parked[0].title
                return Standing(
                    "done" if command else "parked", found, waits=f"for {title}, which could not take it"
                )
            return Standing("done", found, settled=True)
        if flow.outcome is not None:
            return Standing("done", cast(Outcome, flow.outcome))
        if flow.flights is None:
            return Standing("accepted", waits="for room")
        if flow.aside or flow.lane is not None:
            return Standing("waiting", waits="for older inputs")
        away = ", ".join(self.site.away)
        return Standing("waiting", waits=f"for {away}") if away else Standing("running")

    # -- what is read of it

    async def covered(self, origin: int, title: str) -> None:
        """Return once all that the query or view `title` reads has every effect of an origin on it.

        Raises Refused for an origin that no input has.
        """
        if origin > self.flights.newest:
            raise Refused(f"no input has the origin {origin} yet; the newest is {self.flights.newest}")
        need, flow = self._need(title), self.flights.flow(origin)
        while flow is not None and not flow.over and flow.reaches(need):
            await flow.moved()
        await self.site.level(need, origin + 1)

    def _need(self, title: str) -> int:
        """Return the components and views that a query or view reads, as bits."""
        bits, found, seen = self.site.routes.bits, 0, set[str]()
        left = [title]
        while left:
            if (one := left.pop()) in seen:
                continue
            seen.add(one)
            found |= bits.get(one.partition(".")[0], 0)
            for view in self.plan.reads.get(one, ()):
                found |= bits[view]
            left += [f"{reach.component}.{reach.operation}" for reach in self.plan.calls.get(one, ())]
        return found
