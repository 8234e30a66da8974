"""Here: every component in the host's own process, one ledger for all of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from allotrope.kernel import codec
from allotrope.kernel.calls import LAST_ORIGIN
from allotrope.kernel.errors import Corrupted, Refused
from allotrope.kernel.views import View
from allotrope.planning.plans import Plan
from allotrope.runtime.doors.dispatch import Services
from allotrope.runtime.effects.ended import request_name
from allotrope.runtime.effects.holds import Hold
from allotrope.runtime.effects.letters import Found, Search, found
from allotrope.runtime.effects.relay import Relay
from allotrope.runtime.effects.taking import Effects
from allotrope.runtime.keeping.checkpoints import Keeper, Local
from allotrope.runtime.keeping.rebuilds import rebuilt
from allotrope.runtime.migrations import migrate, tables_of
from allotrope.runtime.options import Options
from allotrope.runtime.parts import Parts
from allotrope.runtime.records import Record, figures
from allotrope.runtime.routes import Routes
from allotrope.runtime.sites.site import Begun, Contents, Engine, Joint
from allotrope.runtime.telemetry.meters import Elsewhere
from allotrope.runtime.tracing import Tracer
from allotrope.runtime.wiring import Link, Links, Wiring
from allotrope.storage.ports import Envelope, Ledger


class Here:
    """The one process of an app that is not split."""

    engine: Engine | None = None
    away: Mapping[str, str] = {}
    keeper: Keeper | None = None
    show = covered = None  # the views are here: the host adds to them itself, before it goes on

    def __init__(
        self, plan: Plan, ledger: Ledger, links: Mapping[str, Link], options: Options | None = None
    ) -> None:
        """Build and connect everything."""
        self.plan, self.ledger, self.options = plan, ledger, options or Options()
        self.services = Services(self.options.tracer or Tracer())
        self.services.now, self.services.seed = self.options.now, self.options.seed
        self.wiring = Wiring(plan, ledger, self.services, Links(links), self.options.replicas)
        self.routes = Routes(plan, self.wiring)

    def join(self, joint: Joint) -> None:
        """Serve a host, from now on."""
        self.relay = Relay(self.plan.app.name, Outbox(self.ledger), joint.log, joint.spawn)
        parts = Parts(
            plan=self.plan, options=self.options, ledger=self.ledger, services=self.services, wiring=self.wiring,
            routes=self.routes, spawn=joint.spawn,
        )  # fmt: skip
        self.effects = Effects(parts, self.relay.wake)
        self.take = self.effects.take
        for view in self.wiring.views.values():
            view.floor = joint.flights.floor
        if self.options.kept is not None:
            self._spawn, self.views = joint.spawn, Local(self.wiring.views, self._persist)
            self.keeper = Keeper(self.plan, self.options, joint.log, joint.flights, self.views)
            for view in self.wiring.views.values():
                view.floor = self.keeper.floor

    async def _persist(self, floor: int) -> None:
        self.ledger.finish(floor)
        await self.ledger.relayed(())  # a write, which takes the floor along

    @property
    def parked(self) -> int:
        """Return how many events were parked since the start."""
        return self.effects.parked

    async def begin(self) -> Begun:
        """Bring to the log what was committed and not relayed, and return what was begun."""
        await migrate(self.plan.app, self.ledger)  # before any row is read
        await self.relay.flush()
        floor, done = self.ledger.floor(), frozenset(inputs_of(self.ledger))
        if self.keeper is None or (kept := await self.keeper.open(floor)) is None:
            return Begun(floor, done)
        defined = await self.views.defined()
        since = self.keeper.known(defined)
        try:
            for rows in self.keeper.files.pages(kept, since):
                self.views.restore(rows)
        except Corrupted as error:
            self.keeper.forget(str(error))
            for view in self.wiring.views.values():
                View.__init__(view)
                view.floor = self.keeper.floor
            return Begun(floor, done)
        return Begun(floor, done, *self.keeper.start(since, defined))

    async def rebuild(self, name: str, told: Callable[[int, int], None] = lambda position, end: None) -> None:
        """Read the log again for one view, beside its work, and let it go on with what came of that.

        `told` hears now and then how far the reading is. Refused when the log lacks some of its events.
        """
        if self.keeper is None or name not in self.views.watches:
            raise Refused(f"view {name} is not one of a durable host; it has {', '.join(self.wiring.views)}")
        await self.flushed()
        async with self.keeper.held(name) as origin:
            await rebuilt(self.views.watches[name], self.keeper.log, self.routes.kinds, origin, told)

    async def level(self, need: int, origin: int) -> None:
        """Return at once: the host itself has shown the views here what there is."""

    def behind(self) -> Iterable[tuple[str, int, int]]:
        """Return each view, behind by nothing: the host itself shows them what there is."""
        return [(name, 0, 0) for name in self.wiring.views]

    async def outcome(self, envelope: Envelope) -> bytes | None:
        """Return how the command of an envelope ended, if that is kept."""
        return self.ledger.outcome(request_name(envelope))

    async def letters(self, search: Search) -> Found:
        """Return parked keys and dead letters."""
        return found(self.ledger.scan, search)

    async def holds(self) -> tuple[Hold, ...]:
        """Return what keeps deliveries that are at work."""
        return self.effects.holds.all()

    def finish(self, floor: int) -> None:
        """Take the hint that everything below `floor` is finished."""
        self.ledger.finish(floor)
        if self.keeper is not None:
            self.keeper.look(self._spawn)

    async def flushed(self) -> None:
        """Return once every committed event is in the log."""
        await self.relay.flushed()

    async def contents(self) -> Contents:
        """Return all that is kept; of a host that keeps nothing on disk, the rows and views as bytes."""
        records = [codec.decode(data, Record) for *_, data in self.ledger.records()]
        views = {name: view.entries() for name, view in self.wiring.views.items()}
        return Contents(rows_of(self.plan, self.ledger, self.wiring.home), encoded(views), tuple(records))

    async def meters(self) -> Elsewhere:
        """Return nothing: all counters are the host's own."""
        return {}

    async def close(self) -> None:
        """Keep the states of the views, where that is worth it, and release the files."""
        if self.keeper is not None:
            await self.keeper.close()
        self.services.pool.shutdown(wait=False, cancel_futures=True)
        self.ledger.close()


class Outbox:
    """The outbox of a ledger in this process."""

    def __init__(self, ledger: Ledger) -> None:
        """Serve one ledger."""
        self.ledger = ledger

    async def pull(self) -> Sequence[tuple[int, Envelope]]:
        """Return the first committed events that are not relayed, in order."""
        return self.ledger.outbox()

    async def forget(self, numbers: Sequence[int]) -> None:
        """Drop those that the log has stored."""
        await self.ledger.relayed(numbers)


def inputs_of(ledger: Ledger) -> list[tuple[str, int, str]]:
    """Return the effects of inputs that are not finished: of a migration there is no input."""
    return [name for name in ledger.inbox() if name[1] < LAST_ORIGIN]


def rows_of(plan: Plan, ledger: Ledger, home: frozenset[str]) -> dict[str, dict[str, bytes]]:
    """Return the rows of the tables of some components, as bytes."""
    encoded = plan.topology.durability != "none"
    return {
        title: {key: row if encoded else codec.encode(row) for key, row in ledger.scan(title)}
        for title, _ in tables_of(plan.app, home)
    }


def encoded(views: dict[str, dict[str, Any]]) -> dict[str, dict[str, bytes]]:
    """Return the figures of views by key, as bytes."""
    return {
        name: {key: codec.encode(figures(reading)) for key, reading in entries.items()}
        for name, entries in views.items()
    }
