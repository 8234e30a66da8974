"""Recovery: what a host does before it takes its first input. Relay, rebuild the views, finish what was begun.

What was begun under another version of the app goes to the handlers that it was accepted for, and to no other; so each
version leaves their names in the log, before the entries that it takes.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.runtime.flows import Flow
from allotrope.runtime.routes import Route, Routes, delivery
from allotrope.runtime.sites.site import Begun, Joint, Site
from allotrope.storage.ports import Entry, Envelope

VERSION = (
    "/version"  # kind and path of an entry that is no event, but names the handlers of what comes after it
)
Takers = dict[str, tuple[str, ...]]  # kind of an entry -> titles of the operations that take it


async def recover(host: Joint, site: Site, fly: Callable[[Flow], Awaitable[None]]) -> None:
    """Bring a host to where its log and ledger stand; `fly` runs what was begun and not finished.

    Deliveries whose name is in the inbox have had their effect and are passed over; the rest runs again. Origins keep
    their order, so as-of reads see what they would have seen without the crash.

    Raises Refused when something unfinished belongs to a handler that this version of the app does not have.
    """
    left = await site.begin()  # first: what was committed must be in the log before anybody reads it
    history = _History(host, site, left)
    position = 0
    while entries := list(host.log.read(position, 1000)):
        position = entries[-1].position + 1
        for entry in entries:
            history.take_up(entry)
    current = takers_of(site.routes)
    if history.takers != current:
        mark = Envelope(VERSION, "", codec.encode(current), at=0, path=VERSION)
        await host.log.relay(VERSION, [(history.versions + 1, mark)])
    for origin in history.begun:
        host.spawn(fly(host.flights.flows[origin]))


def takers_of(routes: Routes) -> Takers:
    """Return which operations take which kind of entry."""
    return {kind: tuple(route.title for route in found) for kind, (_, found) in routes.ways.items() if found}


class _History:
    """The log, read from its beginning."""

    def __init__(self, host: Joint, site: Site, left: Begun) -> None:
        self.host, self.site, self.left = host, site, left
        self.takers: Takers | None = None  # of the version at work at this place of the log
        self.versions = 0
        self.begun: list[int] = []  # origins
        self._names: set[tuple[int, str]] = set()  # of unfinished events

    def take_up(self, entry: Entry) -> None:
        """Show an entry to the views and, when its origin is unfinished, give it to who has yet to take it."""
        envelope, flights = entry.envelope, self.host.flights
        if envelope.path == VERSION:
            self.takers, self.versions = codec.decode(envelope.body, Takers), self.versions + 1
            return
        unfinished = envelope.origin >= self.left.floor
        if not envelope.path:
            flights.newest = max(flights.newest, envelope.origin)
            if unfinished:
                flights.begin(envelope.origin)
                self.begun.append(envelope.origin)
        elif unfinished and not self._sound(envelope):
            return
        views, _ = self.site.routes.to(envelope)
        owed = list(self._owed(entry)) if unfinished else []
        if not views and not owed:
            return
        value = self._value(entry)
        for view in views:
            view.add(value, envelope.origin, envelope.path)
        for route in owed:
            flights.flows[envelope.origin].push(delivery(route, envelope, value))

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

    def _owed(self, entry: Entry) -> Iterator[Route]:
        """Yield who has yet to take an entry, of those for whom it was accepted."""
        envelope = entry.envelope
        able = {route.title: route for route in self.site.routes.to(envelope)[1]}
        takers = tuple(able) if self.takers is None else self.takers.get(envelope.kind, ())
        if envelope.kind == "Tick":
            takers = tuple(title for title in takers if title == envelope.key)
        for title in takers:
            if (title, envelope.origin, envelope.path) not in self.left.done:
                if title not in able:
                    raise Refused(
                        f"{_unfinished(entry)} waits for {title}, which this app does not have; {_DRAIN}"
                    )
                yield able[title]
        if self.takers is None and not self._known(envelope):
            raise Refused(f"{_unfinished(entry)}, which this app does not know; {_DRAIN}")

    def _known(self, envelope: Envelope) -> bool:
        routes = self.site.routes
        return envelope.kind in routes.kinds or envelope.kind in routes.commands

    def _value(self, entry: Entry) -> Any:
        try:
            return _read(self.site, entry.envelope)
        except (msgspec.ValidationError, Refused) as error:
            text = f"the log's entry {entry.position} is a {entry.envelope.kind} of another version: {error}"
            raise Refused(f"{text}; give new fields a default, or start the version that wrote it") from None


def _read(site: Site, envelope: Envelope) -> Any:
    """Return what an envelope holds, as this version knows it: an event, or the arguments of a command."""
    if envelope.kind in site.routes.commands:
        return site.wiring.door(envelope.kind, "").decoded(envelope.body)
    return codec.decode(envelope.body, site.routes.kinds[envelope.kind])


def repeats(site: Site, kept: Envelope, given: Envelope) -> bool:
    """Return whether an input says what a kept one does, which perhaps another version of the app has written."""
    try:
        return kept.body == given.body or codec.encode(_read(site, kept)) == given.body
    except (msgspec.ValidationError, Refused):
        return False


_DRAIN = "start the version that accepted it and let it drain"


def _unfinished(entry: Entry) -> str:
    return f"the log's entry {entry.position}, an unfinished {entry.envelope.kind},"
