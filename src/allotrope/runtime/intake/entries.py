"""Entries: what one of the log means to this version of an app: who is to take it, and what it holds."""

from collections.abc import Iterator
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.runtime.routes import Route, Routes
from allotrope.runtime.sites.site import Site
from allotrope.storage.ports import Entry, Envelope

VERSION = (
    "/version"  # kind and path of an entry that is no event, but names the handlers of what comes after it
)
Takers = dict[str, tuple[str, ...]]  # kind of an entry -> titles of the operations that take it
Done = frozenset[tuple[str, int, str]]  # effects: (consumer, origin, path)


def takers_of(routes: Routes) -> Takers:
    """Return which operations take which kind of entry."""
    return {kind: tuple(route.title for route in found) for kind, (_, found) in routes.ways.items() if found}


def owed(site: Site, entry: Entry, takers: Takers | None, done: Done) -> Iterator[Route]:
    """Yield who has yet to take an entry, of those for whom it was accepted.

    Raises Refused when one of them is a handler that this version of the app does not have.
    """
    envelope = entry.envelope
    able = {route.title: route for route in site.routes.to(envelope)[1]}
    titles = tuple(able) if takers is None else takers.get(envelope.kind, ())
    if envelope.kind == "Tick":
        titles = tuple(title for title in titles if title == envelope.key)
    for title in titles:
        if (title, envelope.origin, envelope.path) not in done:
            if title not in able:
                raise Refused(
                    f"{_unfinished(entry)} waits for {title}, which this app does not have; {_DRAIN}"
                )
            yield able[title]
    if (
        takers is None
        and envelope.kind not in site.routes.kinds
        and envelope.kind not in site.routes.commands
    ):
        raise Refused(f"{_unfinished(entry)}, which this app does not know; {_DRAIN}")


def value_of(site: Site, entry: Entry) -> Any:
    """Return what an entry holds, as this version knows it. Raises Refused when it is none that it can read."""
    try:
        return _read(site, entry.envelope)
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
