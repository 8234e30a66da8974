"""The share of a topology that an app of one of its units can judge: what it names of components that the app knows.

All others are elsewhere, and whoever runs the whole judges them. Not here: judging.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from allotrope.kernel.components import App
from allotrope.planning.contracts.contract import FOREIGN
from allotrope.planning.documents import Document

ELSEWHERE = "elsewhere"  # the app of a unit, where its name does not matter
_BY_COMPONENT = ("component", "setting", "resilience")


def share_of(app: App, document: Document) -> Document:
    """Return the share of an app that implements a unit with an `app` of its own; all of it for every other app."""
    units = {title: unit for title, unit in _table(document.values, "unit").items() if isinstance(unit, dict)}
    real = {name for name, part in app.components.items() if not hasattr(part.kind, FOREIGN)}
    if not any(unit.get("app") and real & {*_components(unit)} for unit in units.values()):
        return document
    known = app.components.keys()
    kept = dict(_units(units, known - {name for unit in units.values() for name in _components(unit)}, known))
    values = {**document.values, "unit": kept}
    for table in _BY_COMPONENT:
        names = {"*", *(real if table == "setting" else known), *(kept if table == "resilience" else ())}
        values[table] = {
            title: entry
            for title, entry in _table(values, table).items()
            if title.partition(".")[0] in names
            and _fallback(entry).partition(".")[0] in {"", *known}
        }  # fmt: skip
    values["edge"] = {
        edge: way
        for edge, way in _table(values, "edge").items()
        if edge == "*" or all(name.strip() in known for name in edge.split("->"))
    }
    events = {"*", *app.events()}
    values["topic"] = {event: way for event, way in _table(values, "topic").items() if event in events}
    for table in ("source", "sink"):  # whoever runs the whole has them
        values.pop(table, None)
    gateway = _table(values, "gateway")
    values["gateway"] = {
        "canary": {unit: share for unit, share in _table(gateway, "canary").items() if unit in kept}
    }
    return msgspec.structs.replace(document, values=values)


def _units(units: dict[str, Any], rest: set[str], known: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the units with what is known of them; each says that it runs elsewhere, if nothing else does."""
    for title, unit in units.items():
        names = [name for name in _components(unit) if name in known]
        names += ["*"] if "*" in _components(unit) and rest and not unit.get("each") else []
        said = {} if unit.get("app") or unit.get("foreign") else {"app": ELSEWHERE}
        if unit.get("each"):
            whole = {*names, *(rest if "*" in _components(unit) else ())}
            for name in sorted(whole):
                yield name, {**unit, **said, "components": [name], "each": False}
        elif names:
            yield title, {**unit, **said, "components": names}


def _components(unit: dict[str, Any]) -> list[Any]:
    found = unit.get("components", ())
    return list(found) if isinstance(found, (list, tuple)) else []


def _table(values: dict[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def _fallback(entry: Any) -> str:
    return str(entry.get("fallback", "")) if isinstance(entry, dict) else ""
