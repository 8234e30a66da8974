"""Whether the app of a unit and the app that runs it mean the same, where each knows the other by its contract only.

Equal hashes settle it. Otherwise a component may have grown as `changes` allows; on top of that, whoever runs it sends
it only those events, and passes on only those, that its own contract names. Not here: reading files.
"""

from collections.abc import Iterable, Iterator

import msgspec

from allotrope.kernel.components import App
from allotrope.planning.contracts.changes import Change, compared, fits
from allotrope.planning.contracts.contract import (
    FOREIGN,
    Contract,
    Face,
    Handler,
    contract_of,
    part_of,
    sealed,
)
from allotrope.planning.contracts.grammar import parsed


class Known(msgspec.Struct, frozen=True):
    """All that an app knows of components, its own and others; the hash that each had in its own app's contract."""

    contract: Contract
    faces: dict[str, str]


def known_of(app: App) -> Known:
    """Return what an app knows."""
    contract = contract_of(app, whole=True)
    faces = {name: face.hash for name, face in contract.components.items()}
    faces |= {
        name: getattr(part.kind, FOREIGN)[1]
        for name, part in app.components.items()
        if hasattr(part.kind, FOREIGN)
    }
    return Known(contract, faces)


def against(app: App, running: Contract) -> tuple[Change, ...]:
    """Return what differs between an app and what runs; of a unit's own app, what it and this one do not agree on."""
    units = [
        n for n, part in app.components.items() if n in running.components and hasattr(part.kind, FOREIGN)
    ]
    if units:
        faces = {name: face.hash for name, face in running.components.items()}
        return disagreements(known_of(app), Known(running, faces), units)
    return compared(running, contract_of(app))


def unfit(running: Contract, own: Contract) -> tuple[Change, ...]:
    """Return the changes for which a release cannot run beside the one that does.

    Whoever goes back takes away what the newer release added: both ran side by side before, and do so again. Only an
    event that the older one does not know is in its way, as some may wait in the log.
    """
    refused = tuple(change for change in compared(running, own) if not change.compatible)
    back = {*running.events} <= {*own.events} and all(change.compatible for change in compared(own, running))
    return () if back else refused


def lasting(running: Contract, own: Contract) -> tuple[Change, ...]:
    """Return the changes after which the release that runs cannot read what this one has written.

    What an operation has come to read is none of them.
    """
    titles = {f"{name}.{title}" for name, face in own.components.items() for title in face.operations}
    return tuple(c for c in compared(running, own) if c.order == "readers first" and c.place not in titles)


def disagreements(runs: Known, own: Known, mine: Iterable[str]) -> tuple[Change, ...]:
    """Return each change for which the app that runs a unit and the unit's own cannot work together.

    `mine` are the components that the unit implements; of all others it is one that asks.
    """
    found = set[Change]()
    for name in own.faces.keys() & runs.faces.keys():
        if own.faces[name] != runs.faces[name]:
            sides = [_only(known.contract, name) for known in (runs, own)]
            if name in mine:
                found |= {*compared(sides[0], _understanding(name, *sides)), *_handlers(name, *sides)}
            else:
                found |= {*compared(*reversed(sides))}
    return tuple(sorted(change for change in found if not change.compatible))


def _only(contract: Contract, name: str) -> Contract:
    return msgspec.structs.replace(part_of(contract, (name,)), app="")


def _understanding(name: str, runs: Contract, own: Contract) -> Contract:
    """Return the unit's side with those events as they come that it can read: who publishes them may be ahead."""
    face = own.components[name]
    asked = msgspec.structs.replace(face, takes=(), handlers={})
    answers = part_of(msgspec.structs.replace(own, components={name: asked}), (name,)).shapes
    events, types = dict(own.events), dict(own.types)
    for event in {*face.takes} & {*runs.events} - {*answers}:
        if fits(own, runs, event):
            taken = Contract(
                0, "", components={"": Face(takes=(event,))}, events=runs.events, types=runs.types
            )
            comes = part_of(taken, ("",))
            events |= comes.events
            types |= {title: shape for title, shape in comes.types.items() if title not in answers}
    return sealed(msgspec.structs.replace(own, events=events, types=types))


def _handlers(name: str, runs: Contract, own: Contract) -> Iterator[Change]:
    """Yield what makes the ways of events others than who runs them believes."""
    known, there = runs.components[name].handlers, own.components[name].handlers
    remedy = "give its new contract to who runs it first"
    for title, handler in known.items():
        place = f"{name}.{title}"
        if title not in there:
            yield Change(place, "is gone", "refused", "its events are sent to it", f"keep it, or {remedy}")
            continue
        if lost := sorted({*handler.takes} - {*there[title].takes}):
            yield Change(
                place, f"takes {lost[0]} no more", "refused", "it is sent there", f"keep it, or {remedy}"
            )
        if handler.period_s != there[title].period_s:
            what = f"its period of {handler.period_s:g} s became {there[title].period_s:g} s"
            yield Change(place, what, "refused", "its ticks come in the old one", remedy)
    for title, handler in there.items():
        before = known.get(title, Handler())
        for event in sorted(_published(handler) - _published(before) if title in known else ()):
            why = "who runs it does not know where that leads"
            yield Change(f"{name}.{title}", f"publishes {event} too", "refused", why, remedy)


def _published(handler: Handler) -> set[str]:
    return {*parsed(handler.result).names()}
