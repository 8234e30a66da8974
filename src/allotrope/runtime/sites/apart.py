"""Apart: the site of a host whose components run in units of their own. It sends, asks again, and brings home.

A unit that dies takes nothing with it: what it has committed is in its ledger, and what it has not is sent again, to
whoever holds the partition then.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Corrupted, Lost, Overloaded, Refused
from allotrope.planning.plans import Plan
from allotrope.runtime.doors.dispatch import Services
from allotrope.runtime.doors.graces import STATES_S
from allotrope.runtime.doors.limits import Gone
from allotrope.runtime.effects.ended import Child, request_name
from allotrope.runtime.effects.holds import Hold
from allotrope.runtime.effects.letters import Found, Search, joined
from allotrope.runtime.effects.relay import Relay
from allotrope.runtime.flows import Flow
from allotrope.runtime.keeping.checkpoints import Keeper
from allotrope.runtime.keeping.states import fingerprint
from allotrope.runtime.options import Options
from allotrope.runtime.records import Outcome
from allotrope.runtime.routes import Delivery, Routes
from allotrope.runtime.sites.afar import Abroad
from allotrope.runtime.sites.feeds import Feed
from allotrope.runtime.sites.site import Begun, Contents, Engine, Joint
from allotrope.runtime.sites.suspects import Suspect
from allotrope.runtime.sites.wire import Address, Letter, Sent, Taken, Trial, Wire, opened
from allotrope.runtime.telemetry.meters import Elsewhere, Meter
from allotrope.runtime.tracing import Tracer
from allotrope.runtime.wiring import Link, Links, Wiring
from allotrope.storage.checkpoints import Kept, Row
from allotrope.storage.partitions import partition_of
from allotrope.storage.ports import Envelope

log = logging.getLogger("allotrope")
MISSED = 8  # times that a unit was not there, about a second, before it is told
HEARD_S = 1.0  # how long a replica may take to tell its counters
LETTERS_S = 5.0  # and a unit to tell its dead letters
_OF_LEDGER = frozenset(("begin", "outbox", "relayed", "outcome", "finish", "letters"))
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
        self._away: dict[tuple[str, int], str] = {}  # unit and partition, and why it cannot be asked
        self.keeper: Keeper | None = None
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

    @property
    def away(self) -> Mapping[str, str]:
        """Return the units that are waited for since they cannot be asked, and why that is."""
        return {f"unit `{unit}`": why for (unit, _), why in self._away.items()}

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
        if self.options.kept is not None:
            self.keeper = Keeper(self.plan, self.options, joint.log, joint.flights, _Feeds(self))
            for feed in self.feeds.values():
                feed.keeper = self.keeper

    async def begin(self) -> Begun:
        """Wait for every unit, bring to the log what was committed and not relayed, and return what was begun."""
        if self.engine is not None:
            self.engine.start()
            await self.engine.up()
        states: list[State] = await asyncio.gather(
            *(self._asked(u, "begin", b"", State) for u in self._keeping)
        )
        await self._flush()
        done = frozenset(name for _, names in states for name in names)
        begun = Begun(max((floor for floor, _ in states), default=0), done)
        if self.keeper is not None and (kept := await self.keeper.open(begun.floor)) is not None:
            parts = self.plan.app.components
            known = self.keeper.known({name: fingerprint(parts[name].kind) for name in self.keeper.sources})
            self.keeper.check(self.keeper.sources.keys() - known.keys())
            begun = Begun(begun.floor, done, kept.position, kept.since - 1)
        for feed in self.feeds.values():
            self.joint.spawn(feed.follow(self.joint, self._flush))
        return begun

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
        sent = Sent(route.title, envelope, header, self.joint.flights.floor())
        partition = partition_of(delivery.key, self.plan.topology.partitions)
        try:
            taken = await self._asked(unit, "deliver", codec.encode(sent), Taken, partition, flow)
        except Gone as end:
            taken = await self._suspected(unit, Suspect(sent), partition, flow, end)
        self.parked += taken.parked
        if self.options.disturbance is not None:
            self.options.disturbance.repeats += taken.repeats
        if taken.outcome:
            flow.outcome = codec.decode(taken.outcome, Outcome)
            flow.wake()
        if taken.children:
            self.relays[unit].wake()
        return [(child, None) for child in taken.children]

    async def _suspected(self, unit: str, suspect: Suspect, partition: int, flow: Flow, end: Gone) -> Taken:
        """Have a delivery run whose process has ended, alone if need be; one that ends it every time is given up."""
        sent = suspect.sent
        suspect.saw(end)
        while True:
            try:
                if suspect.isolated:
                    wish = codec.encode(Trial(sent.envelope.origin, sent.envelope.path, suspect.hold_s))
                    suspect.admitted(await self._asked(unit, "trial", wish, int, partition, flow))
                letter, again = suspect.letter(), not suspect.ticket  # a ticket is good for one letter
                taken: Taken = await self._asked(unit, "deliver", letter, Taken, partition, flow, again=again)
                return taken
            except Gone as another:
                suspect.saw(another)
                level = logging.WARNING if suspect.given_up else logging.INFO
                log.log(level, "%s at %s: %s", sent.envelope.name, sent.title, suspect.given_up or another)
            except Corrupted:
                raise
            except (Refused, Lost) as error:
                log.info("%s at %s is tried again: %s", sent.envelope.name, sent.title, error)
                await self.wire.changed(0.05)

    async def _asked(
        self, unit: str, method: str, letter: bytes, kind: Any, partition: int = -1, flow: Flow | None = None, *,
        again: bool = True,
    ) -> Any:  # fmt: skip
        """Return the answer of a unit to what may be asked any number of times; ask until it comes.

        Gone when the process of a delivery has ended; without `again` also Refused and Lost.
        """
        waits = 0
        while True:
            if flow is not None and flow.lost is not None:
                raise Lost(f"stopped while origin {flow.origin} was at work: {flow.lost}")
            began_ns = time.time_ns()
            try:
                to = self._address(unit, method, partition)
                answer = opened(await self.wire.call(to, method, Letter(letter)), kind)
                if self._away:
                    self._away.pop((unit, partition), None)
                return answer
            except Corrupted:  # to ask again would not mend it
                raise
            except (Refused, Lost) as error:
                if not again or (method == "deliver" and isinstance(error, Gone)):
                    raise
                waits += 1
                if flow is not None and flow.trace is not None:  # one that succeeds is in the unit's spans
                    span = self.services.tracer.child(flow.trace, f"{method} to {unit}")
                    span.start_ns = began_ns
                    self.services.tracer.end(span, type(error).__name__, flow.origin)
                if waits >= MISSED:
                    if not any(unit == other for other, _ in self._away):
                        log.warning("unit `%s` is waited for, it is asked again and again: %s", unit, error)
                    self._away[unit, partition] = str(error)
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

    async def level(self, need: int, origin: int) -> None:
        """Return once the views among some components, given as bits, have every event of smaller origins."""
        for bit, feed in self._bits:
            if bit & need:
                await feed.covered(origin)

    def behind(self) -> Iterable[tuple[str, int, int]]:
        """Return of each view how many events it has yet to see, and when the oldest of their inputs was accepted."""
        for component in self.plan.app.components.values():
            if component.is_view:
                kinds = {source.__name__ for source in component.sources()}
                yield component.name, *self.feeds[self.home[component.name]].lag(kinds)

    # -- what is kept

    async def outcome(self, envelope: Envelope) -> bytes | None:
        """Return how the command of an envelope ended, if that is kept."""
        unit = self.home[envelope.kind.partition(".")[0]]
        name = codec.encode(request_name(envelope))
        found: bytes | None = await self._asked(unit, "outcome", name, bytes | None)
        return found

    async def letters(self, search: Search) -> Found:
        """Return parked keys and dead letters, of all units that may have some. Overloaded when one is away."""
        letter = codec.encode(search)
        units = [u for u in self._keeping if not search.component or self.home.get(search.component) == u]
        try:
            async with asyncio.timeout(LETTERS_S):
                asked = (self._asked(u, "letters", letter, Found) for u in units)
                return joined(await asyncio.gather(*asked), search)
        except TimeoutError:
            away = ", ".join(self.away) or "a unit"
            raise Overloaded(f"{away} cannot be asked for its dead letters now; ask again", 1.0) from None

    def finish(self, floor: int) -> None:
        """Keep the states of the views when it is time; of the floor itself each letter tells."""
        if self.keeper is not None:
            self.keeper.look(self.joint.spawn)

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
        found = await self._heard("meters", tuple[int, tuple[Meter, ...]])
        return {
            (unit, replica, str(release)): {meter.title: meter for meter in meters}
            for unit, replica, (release, meters) in found
        }

    async def holds(self) -> tuple[Hold, ...]:
        """Return what keeps deliveries that are at work, as far as their replicas answer in time."""
        found = await self._heard("holds", tuple[Hold, ...])
        gone = [unit for unit in self.plan.units if not self.wire.replicas(unit)]
        away = [Hold(f"unit `{u}` is away: none of its replicas can be reached", 0, unit=u) for u in gone]
        return (*away, *(hold for *_, holds in found for hold in holds))

    async def _heard(self, method: str, kind: Any) -> list[tuple[str, str, Any]]:
        """Return what the replicas say that answer in time, each with its unit and name."""

        async def of(unit: str, replica: str) -> tuple[str, str, Any]:
            letter = self.wire.call(Address(unit, replica=replica), method, Letter(b""), HEARD_S)
            return unit, replica, opened(await letter, kind)

        names = [(unit, replica) for unit in self.plan.units for replica in self.wire.replicas(unit)]
        found = await asyncio.gather(*(of(*name) for name in names), return_exceptions=True)
        return [each for each in found if not isinstance(each, BaseException)]

    async def close(self) -> None:
        """Let go of the units, and end them if they were started here."""
        if self.keeper is not None:
            floor = self.joint.flights.floor()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATES_S):
                    await self.keeper.close(able=all(feed.level(floor) for feed in self.feeds.values()))
        self.services.pool.shutdown(wait=False, cancel_futures=True)
        if self.engine is not None:
            await self.engine.close()
        self.wire.close()


class _Feeds(msgspec.Struct, frozen=True):
    """The views of all units."""

    site: Apart

    async def defined(self) -> dict[str, str]:
        found = [await feed.defined() for feed in self.site.feeds.values()]
        return {name: known for views in found for name, known in views.items()}

    async def rows(self, known: Kept | None, origin: int) -> AsyncIterator[list[Row]]:
        for feed in self.site.feeds.values():
            async for rows in feed.rows(known, origin):
                yield rows

    async def persist(self, floor: int) -> None:
        letter = codec.encode(floor)
        await asyncio.gather(*(self.site._asked(unit, "finish", letter, None) for unit in self.site._keeping))


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
