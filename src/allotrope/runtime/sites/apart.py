"""Apart: the site of a host whose components run in units of their own. It sends, asks again, and brings home.

A unit that dies takes nothing with it: what it has committed is in its ledger, and what it has not is sent again, to
whoever holds the partition then.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Corrupted, Lost, Refused
from allotrope.planning.plans import Plan
from allotrope.runtime.doors.dispatch import Services
from allotrope.runtime.effects.ended import Child, request_name
from allotrope.runtime.effects.relay import Relay
from allotrope.runtime.flows import Flow
from allotrope.runtime.options import Options
from allotrope.runtime.records import Outcome
from allotrope.runtime.routes import Delivery, Routes
from allotrope.runtime.sites.afar import Abroad
from allotrope.runtime.sites.feeds import Feed
from allotrope.runtime.sites.site import Begun, Contents, Engine, Joint
from allotrope.runtime.sites.wire import Address, Letter, Sent, Taken, Wire, opened
from allotrope.runtime.telemetry.meters import Elsewhere, Meter
from allotrope.runtime.tracing import Tracer
from allotrope.runtime.wiring import Link, Links, Wiring
from allotrope.storage.partitions import partition_of
from allotrope.storage.ports import Envelope

log = logging.getLogger("allotrope")
HEARD_S = 1.0  # how long a replica may take to tell its counters
_OF_LEDGER = frozenset(("begin", "outbox", "relayed", "outcome"))
State = tuple[int, tuple[tuple[str, int, str], ...]]


class Apart:
    """Every component of a plan in a unit elsewhere."""

    def __init__(
        self, plan: Plan, wire: Wire, links: Mapping[str, Link], options: Options | None = None,
        engine: Engine | None = None,
    ) -> None:  # fmt: skip
        """Stand in for all of them; `engine` keeps their processes, unless somebody else does."""
        self.plan, self.wire, self.options, self.engine = plan, wire, options or Options(), engine
        self.services = Services(self.options.tracer or Tracer())
        self.services.now, self.services.seed = self.options.now, self.options.seed
        abroad = Abroad(plan, wire)
        self.home = abroad.home
        self.wiring = Wiring(plan, None, self.services, Links(links, frozenset(plan.app.components), abroad))
        self.routes = Routes(plan, self.wiring)
        self.parked = 0
        self.feeds = self._feeds()
        self._by_kind = {
            kind: [feed for feed in self.feeds.values() if kind in feed.kinds] for kind in self.routes.kinds
        }
        views = [name for name, c in plan.app.components.items() if c.is_view]
        self._bits = [(self.routes.bits[name], self.feeds[self.home[name]]) for name in views]
        # Units of views alone have no ledger that anybody writes.
        self._keeping = [
            unit
            for unit, names in plan.units.items()
            if any(not plan.app.components[n].is_view for n in names)
        ]

    def _feeds(self) -> dict[str, Feed]:
        kinds: dict[str, set[str]] = {}
        for component in self.plan.app.components.values():
            if component.is_view:
                sources = {source.__name__ for source in component.sources()}
                kinds.setdefault(self.home[component.name], set()).update(sources)
        return {unit: Feed(unit, frozenset(known), self.wire) for unit, known in kinds.items()}

    def join(self, joint: Joint) -> None:
        """Serve a host, from now on."""
        self.joint = joint
        self.relays = {
            unit: Relay(f"{self.plan.app.name}/{unit}", _Outbox(unit, self), joint.log, joint.spawn)
            for unit in self._keeping
        }

    async def begin(self) -> Begun:
        """Wait for every unit, bring to the log what was committed and not relayed, and return what was begun."""
        if self.engine is not None:
            self.engine.start()
            await self.engine.up()
        states: list[State] = await asyncio.gather(
            *(self._asked(u, "begin", b"", State) for u in self._keeping)
        )
        await self._flush()
        for feed in self.feeds.values():
            self.joint.spawn(feed.follow(self.joint, self._flush))
        done = frozenset(name for _, names in states for name in names)
        return Begun(max((floor for floor, _ in states), default=0), done)

    async def _flush(self) -> None:
        await asyncio.gather(*(relay.flush() for relay in self.relays.values()))

    async def flushed(self) -> None:
        """Return once every committed event is in the log."""
        await asyncio.gather(*(relay.flushed() for relay in self.relays.values()))

    # -- deliveries

    async def take(self, flow: Flow, delivery: Delivery) -> list[Child]:
        """Have one delivery run where its component is, until it has had its effect; return what it published."""
        route, envelope = delivery.route, delivery.envelope
        unit = self.home[route.component]
        header = "" if flow.trace is None else flow.trace.traceparent
        letter = codec.encode(Sent(route.title, envelope, header, self.joint.flights.floor()))
        partition = partition_of(delivery.key, self.plan.topology.partitions)
        taken: Taken = await self._asked(unit, "deliver", letter, Taken, partition, flow)
        self.parked += taken.parked
        if self.options.disturbance is not None:
            self.options.disturbance.repeats += taken.repeats
        if taken.outcome:
            flow.outcome = codec.decode(taken.outcome, Outcome)
            flow.wake()
        if taken.children:
            self.relays[unit].wake()
        return [(child, None) for child in taken.children]

    async def _asked(
        self, unit: str, method: str, letter: bytes, kind: Any, partition: int = -1, flow: Flow | None = None
    ) -> Any:
        """Return the answer of a unit to what may be asked any number of times; ask until it comes."""
        waits = 0
        while True:
            if flow is not None and flow.lost is not None:
                raise Lost(f"stopped while origin {flow.origin} was at work: {flow.lost}")
            began_ns = time.time_ns()
            try:
                to = self._address(unit, method, partition)
                return opened(await self.wire.call(to, method, Letter(letter)), kind)
            except Corrupted:  # to ask again would not mend it
                raise
            except (Refused, Lost) as error:
                waits += 1
                if flow is not None and flow.trace is not None:  # one that succeeds is in the unit's spans
                    span = self.services.tracer.child(flow.trace, f"{method} to {unit}")
                    span.start_ns = began_ns
                    self.services.tracer.end(span, type(error).__name__, flow.origin)
                if waits % 16 == 0:
                    log.warning("unit %s: %s; asking again", unit, error)
                await self.wire.changed(0.005 * 2 ** min(waits, 6))

    def _address(self, unit: str, method: str, partition: int) -> Address:
        """Return whom to ask: of the ledger any replica, since for its views to be loaded the outbox is needed."""
        names = self.wire.replicas(unit) if method in _OF_LEDGER else ()
        return Address(unit, partition, names[0] if names else "")

    @property
    def show(self) -> Callable[[Envelope, Any], None]:
        """Return what shows an event to the views, wherever they are."""
        by_kind = self._by_kind

        def shown(envelope: Envelope, value: Any) -> None:
            for feed in by_kind.get(envelope.kind, ()):
                feed.add(envelope)

        return shown

    async def covered(self, flow: Flow, delivery: Delivery) -> None:
        """Return once the views that a delivery may read have all events of smaller origins."""
        need = delivery.route.need
        for bit, feed in self._bits:
            if bit & need:
                await feed.covered(flow.origin)
            elif feed.behind:
                await feed.caught_up()

    # -- what is kept

    async def outcome(self, envelope: Envelope) -> bytes | None:
        """Return how the command of an envelope ended, if that is kept."""
        unit = self.home[envelope.kind.partition(".")[0]]
        name = codec.encode(request_name(envelope))
        found: bytes | None = await self._asked(unit, "outcome", name, bytes | None)
        return found

    def finish(self, floor: int) -> None:
        """Do nothing: each letter tells the floor."""

    async def contents(self) -> Contents:
        """Return all that is kept, of all units."""
        parts: list[Contents] = await asyncio.gather(
            *(self._asked(unit, "contents", b"", Contents) for unit in self.plan.units)
        )
        return Contents(
            {title: rows for part in parts for title, rows in part.tables.items()},
            {name: keys for part in parts for name, keys in part.views.items()},
            tuple(record for part in parts for record in part.records),
        )

    async def meters(self) -> Elsewhere:
        """Return the counters of all replicas that answer in time."""

        async def of(unit: str, replica: str) -> dict[str, Meter]:
            letter = self.wire.call(Address(unit, replica=replica), "meters", Letter(b""), HEARD_S)
            found: tuple[Meter, ...] = opened(await letter, tuple[Meter, ...])
            return {meter.title: meter for meter in found}

        names = [(unit, replica) for unit in self.plan.units for replica in self.wire.replicas(unit)]
        found = await asyncio.gather(*(of(*name) for name in names), return_exceptions=True)
        return {
            name: meters
            for name, meters in zip(names, found, strict=True)
            if not isinstance(meters, BaseException)
        }

    async def close(self) -> None:
        """Let go of the units, and end them if they were started here."""
        self.services.pool.shutdown(wait=False, cancel_futures=True)
        if self.engine is not None:
            await self.engine.close()
        self.wire.close()


class _Outbox(msgspec.Struct, frozen=True):
    """The outbox of a unit's ledger."""

    unit: str
    site: Apart

    async def pull(self) -> Sequence[tuple[int, Envelope]]:
        kind = tuple[tuple[int, Envelope], ...]
        found: Sequence[tuple[int, Envelope]] = await self.site._asked(self.unit, "outbox", b"", kind)
        return found

    async def forget(self, numbers: Sequence[int]) -> None:
        await self.site._asked(self.unit, "relayed", codec.encode(tuple(numbers)), None)
