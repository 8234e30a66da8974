"""Recovery: what a host does before it takes its first input. Relay, rebuild the views, finish what was begun."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.runtime.effects import Effects
from allotrope.runtime.flows import Flow
from allotrope.runtime.parts import Parts
from allotrope.runtime.routes import delivery
from allotrope.storage.ports import Entry


async def recover(host: Parts, effects: Effects, fly: Callable[[Flow], Awaitable[None]]) -> None:
    """Bring a host to where its log and ledger stand; `fly` runs what was begun and not finished.

    Deliveries whose name is in the inbox have had their effect and are passed over; the rest runs again. Origins keep
    their order, so as-of reads see what they would have seen without the crash.
    """
    if not host.durable:
        return
    await effects.relay()  # first: what was committed must be in the log before anybody reads it
    floor = host.ledger.floor()
    done = set(host.ledger.inbox())
    begun: list[int] = []
    position = 0
    while entries := list(host.log.read(position, 1000)):
        position = entries[-1].position + 1
        for entry in entries:
            _take_up(host, entry, floor, done)
            if not entry.envelope.path:
                host.flights.newest = max(host.flights.newest, entry.envelope.origin)
                if entry.envelope.origin >= floor:
                    begun.append(entry.envelope.origin)
    for origin in begun:
        host.spawn(fly(host.flights.flows[origin]))


def _take_up(host: Parts, entry: Entry, floor: int, done: set[tuple[str, int, str]]) -> None:
    envelope = entry.envelope
    kind = host.routes.kinds.get(envelope.kind)
    command = host.routes.commands.get(envelope.kind)
    views, routes = host.routes.to(envelope)
    unfinished = envelope.origin >= floor
    if unfinished and not envelope.path:
        host.flights.begin(envelope.origin)
    if kind is None and command is None:
        if unfinished and not any((envelope.origin, envelope.path) == name[1:] for name in done):
            text = f"the log's entry {entry.position} is an unfinished {envelope.kind}, which this app does not know"
            raise Refused(f"{text}; start the version that accepted it and let it drain")
        return
    if not unfinished and not views:
        return
    flow = host.flights.flows.get(envelope.origin)
    if command is not None:
        value = host.wiring.door(command.operation.title, "").decoded(envelope.body)
    else:
        value = _event(entry, kind)
    for view in views:
        view.add(value, envelope.origin, envelope.path)
    if flow is not None:
        for route in routes:
            if (route.title, envelope.origin, envelope.path) not in done:
                flow.push(delivery(route, envelope, value))


def _event(entry: Entry, kind: Any) -> Any:
    try:
        return codec.decode(entry.envelope.body, kind)
    except (msgspec.ValidationError, Refused) as error:
        text = f"the log's entry {entry.position} is a {entry.envelope.kind} of another version: {error}"
        raise Refused(f"{text}; give new fields a default, or start the version that wrote it") from None
