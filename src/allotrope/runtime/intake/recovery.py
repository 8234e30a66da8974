"""Recovery: what a host does before it takes its first input. Relay, rebuild the views, finish what was begun.

What was begun under another version of the app goes to the handlers that it was accepted for, and to no other; so each
version leaves their names in the log, before the entries that it takes.
"""

from collections.abc import Awaitable, Callable

from allotrope.kernel import codec
from allotrope.runtime.flows import Flow
from allotrope.runtime.intake.backlog import Backlog, empty
from allotrope.runtime.intake.entries import VERSION, Takers, owed, takers_of, value_of
from allotrope.runtime.intake.turns import Turns
from allotrope.runtime.keeping.checkpoints import Notes
from allotrope.runtime.routes import Delivery, delivery
from allotrope.runtime.sites.site import Begun, Joint, Site
from allotrope.storage.ports import Entry, Envelope


async def recover(
    host: Joint, site: Site, backlog: Backlog, fly: Callable[[Flow], Awaitable[None]], turns: Turns | None
) -> None:
    """Bring a host to where its log and ledger stand; `fly` runs what was begun and not finished, unless `turns` does.

    What nothing was done for waits in the log; so does, where there are turns, what all deliveries hold.

    Deliveries whose name is in the inbox have had their effect and are passed over; the rest runs again. Origins keep
    their order, so as-of reads see what they would have seen without the crash.

    Raises Refused when something unfinished belongs to a handler that this version of the app does not have.
    """
    left = await site.begin()  # first: what was committed must be in the log before anybody reads it
    history = _History(host, site, left, backlog, turns)
    position = left.position
    host.flights.newest = host.flights.begun = max(host.flights.newest, left.newest)
    host.log.skip(max(left.newest, left.floor - 1, *(origin for _, origin, _ in left.done)))
    while entries := await host.log.read(position, 1000):
        position = entries[-1].position + 1
        for entry in entries:
            history.take_up(entry)
    current = takers_of(site.routes)
    if history.takers != current:
        mark = Envelope(VERSION, "", codec.encode(current), at=0, path=VERSION)
        await host.log.relay(VERSION, [(history.versions + 1, mark)])
        history.marks.append((position, (current, history.versions + 1)))
    if site.keeper is not None:
        site.keeper.marks = history.marks
    backlog.mark = position
    history.resume()
    if turns is not None:
        turns.start()
    else:
        for flow in host.flights.flows.values():
            host.spawn(fly(flow))
    backlog.wake()


class _History:
    """The log, read from its beginning."""

    def __init__(self, host: Joint, site: Site, left: Begun, backlog: Backlog, turns: Turns | None) -> None:
        self.host, self.site, self.left, self.backlog, self.turns = host, site, left, backlog, turns
        self.last = max((origin for _, origin, _ in left.done), default=0)  # for which anything was done
        keeper, begin = site.keeper, (0, (None, 0))
        self.marks: list[tuple[int, Notes]] = [keeper.marks[0] if keeper and left.position else begin]
        self.takers, self.versions = self.marks[0][1]  # of the version at work at this place of the log
        self._owing: dict[int, list[Delivery]] = {}  # origin -> what is still to be done for it
        self._first = self._behind = (
            0  # position of the first unfinished input; origin before those that wait
        )
        self._names: set[tuple[int, str]] = set()  # of unfinished events

    def take_up(self, entry: Entry) -> None:
        """Show an entry to the views and, when its origin is unfinished, give it to who has yet to take it."""
        envelope = entry.envelope
        if envelope.path == VERSION:
            self.takers, self.versions = codec.decode(envelope.body, Takers), self.versions + 1
            self.marks.append((entry.position, (self.takers, self.versions)))
            return
        unfinished = envelope.origin >= self.left.floor
        if not envelope.path:
            self._input(entry, unfinished=unfinished)
        elif unfinished and not self._sound(envelope):
            return
        views, _ = self.site.routes.to(envelope)
        routes = list(owed(self.site, entry, self.takers, self.left.done)) if unfinished else []
        if not views and not routes:
            return
        value = value_of(self.site, entry)
        for view in views:
            if envelope.origin >= self.left.since.get(type(view).__name__, 0):
                view.add(value, envelope.origin, envelope.path)
        for route in routes if envelope.origin <= self.last else ():
            one = delivery(route, envelope, value, entry.position)
            if self.turns is not None:
                empty(one)
            self._owing.setdefault(envelope.origin, []).append(one)

    def resume(self) -> None:
        """Begin the flows of what was begun and not finished, in the order of origins."""
        flights = self.host.flights
        for origin, deliveries in sorted(self._owing.items()):
            flow = flights.begin(origin)
            flow.position, flow.at = self._first, deliveries[0].envelope.at
            for one in deliveries:
                if self.turns is None:
                    flow.push(one)
                else:
                    self.turns.add(flow, one).away = True
        flights.begun = self._behind if flights.waiting else flights.newest

    def _input(self, entry: Entry, *, unfinished: bool) -> None:
        origin, flights = entry.envelope.origin, self.host.flights
        if unfinished and origin > self.last:
            if not flights.waiting:
                self._behind = origin - 1
            self.backlog.put_off(entry, self.takers)
        elif unfinished:
            self._first = self._first or entry.position
        else:
            flights.begun = max(flights.begun, origin)  # the floor, so that views forget what nobody asks for
        flights.newest = max(flights.newest, origin)

    def _sound(self, derived: Envelope) -> bool:
        """Return whether this event is to be taken as it stands.

        A power cut may have taken the effect that published it: then that runs again, and publishes it again. It may
        also stand in the log twice, under one name.
        """
        above, _, last = derived.path.rpartition("/")
        name = (derived.origin, derived.path)
        known, maker = name in self._names, (last.partition("#")[0], derived.origin, above)
        self._names.add(name)
        return not known and maker in self.left.done
