"""Whether modules keep to their fields: a component of another module is reached through a typed field only.

Derived from the classes and what their code mentions, so there is no second configuration. Messages, events,
faults and plain functions may be imported freely. A module that composes an App may import everything.
"""

import sys
import typing
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

from allotrope.kernel.components import App
from allotrope.kernel.messages import Place
from allotrope.planning.bytecode import Mention, mentions
from allotrope.planning.documents import Finding, finding
from allotrope.planning.facts import Facts, Part, owned, place_in

Homes = dict[str, list[Part]]  # module name -> the components that it defines


def boundary_faults(facts: Facts) -> Iterator[Finding]:
    """Yield a fault for each component known without a field, and each private name of another module."""
    homes: Homes = {}
    for part in facts.parts.values():
        homes.setdefault(part.component.kind.__module__, []).append(part)
    for name in homes:
        space = vars(sys.modules.get(name, ModuleType(name)))
        mentioned = list(_mentioned(name, space, homes[name]))
        yield from _strangers(name, space, homes, mentioned)
        yield from _secrets(name, space, homes, mentioned)


def _composes(space: dict[str, Any]) -> bool:
    return any(value is App or isinstance(value, App) for value in space.values())


def _mentioned(name: str, space: dict[str, Any], parts: list[Part]) -> Iterator[tuple[Place, Mention]]:
    """Yield what a module's components mention, and its functions too unless it composes an app."""
    functions: list[FunctionType] = []
    if not _composes(space):
        functions = [f for f in space.values() if isinstance(f, FunctionType) and f.__module__ == name]
    for function in (*functions, *(method for part in parts for method in owned(part))):
        for mention in mentions(function):
            yield place_in(function, mention), mention


def _strangers(
    name: str, space: dict[str, Any], homes: Homes, mentioned: list[tuple[Place, Mention]]
) -> Iterator[Finding]:
    allowed = {typing.get_origin(f.kind) or f.kind for part in homes[name] for f in part.fields.values()}
    allowed |= {parent for part in homes[name] for parent in part.component.kind.__mro__}
    foreign = {p.component.kind: p for home, parts in homes.items() if home != name for p in parts}
    met: dict[type, Place] = {}
    for place, mention in mentioned:
        for value in mention.values:
            if isinstance(value, type) and value in foreign and value not in allowed:
                met.setdefault(value, place)
    if not _composes(space):
        for value in space.values():
            if isinstance(value, type) and value in foreign and value not in allowed:
                met.setdefault(value, homes[name][0].place)
    own = ", ".join(part.name for part in homes[name])
    for kind, place in met.items():
        text = (
            f"{name} imports the component {kind.__name__} of {kind.__module__}, but none of its components "
            f"({own}) has a field of it; add a field, or publish an event"
        )
        yield finding(place, text)


def _secrets(
    name: str, space: dict[str, Any], homes: Homes, mentioned: list[tuple[Place, Mention]]
) -> Iterator[Finding]:
    met: dict[tuple[str, str], Place] = {}
    for place, mention in mentioned:
        for holder, part in zip(mention.values, mention.names[1:], strict=False):
            if (
                isinstance(holder, ModuleType)
                and _is_private(part)
                and holder.__name__ in homes
                and holder.__name__ != name
            ):
                met.setdefault((holder.__name__, part), place)
    for part, value in space.items():
        owner = _owner(part, value, homes)
        if _is_private(part) and owner and owner != name:
            met.setdefault((owner, part), homes[name][0].place)
    for (owner, part), place in met.items():
        text = f"{name} uses `{part}` of {owner}, which is private there; drop the underscore, or move it out"
        yield finding(place, text)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _owner(name: str, value: Any, homes: Homes) -> str:
    """Return the component module that a value was made in; "" when that cannot be told, as of a number."""
    if isinstance(value, (FunctionType, type)):
        return value.__module__ if value.__module__ in homes else ""
    if isinstance(value, (dict, list, set)):
        return next((home for home in homes if vars(sys.modules.get(home, sys)).get(name) is value), "")
    return ""
