"""Whether a topology fits an app: names, places, sizes, levels of durability, settings."""

from collections.abc import Iterator
from typing import Any

import msgspec

from allotrope.kernel.errors import Refused, nearest
from allotrope.kernel.exactness import mutable
from allotrope.kernel.messages import conform
from allotrope.planning.documents import Document, Finding, finding
from allotrope.planning.facts import Facts, Part
from allotrope.planning.topology import Topology, Unit
from allotrope.planning.values import defaults
from allotrope.planning.wiring import Reach

Calls = dict[str, tuple[Reach, ...]]


def layout_faults(facts: Facts, topology: Topology, document: Document, calls: Calls) -> Iterator[Finding]:
    """Yield a fault for each line of the topology that the app does not bear out."""
    yield from _members(facts, topology, document)
    for name, unit in topology.unit.items():
        yield from _sizes(name, unit, document)
    yield from _edges(facts, topology, document)
    yield from _apart(facts, topology, document, calls)
    yield from _topics(facts, topology, document)
    yield from _limits(facts, topology, document)
    yield from _missing_settings(facts, topology)


def units_of(facts: Facts, topology: Topology) -> dict[str, tuple[str, ...]]:
    """Return the components that each unit runs; `*` stands for all that no unit names."""
    named = {name for unit in topology.unit.values() for name in unit.components}
    return {
        title: tuple(
            name
            for name in facts.parts
            if name in unit.components or ("*" in unit.components and name not in named)
        )
        for title, unit in topology.unit.items()
    }


def _members(facts: Facts, topology: Topology, document: Document) -> Iterator[Finding]:
    homes: dict[str, str] = {}
    for title, unit in topology.unit.items():
        for name in unit.components:
            place = document.place("unit", title, "components", name)
            if name != "*" and name not in facts.parts:
                yield finding(place, f"unit `{title}` lists `{name}`, {_unknown(facts, name)}")
            elif name in homes:
                what = "the rest, `*`," if name == "*" else f"`{name}`"
                where = "twice" if homes[name] == title else f"and so does unit `{homes[name]}`"
                yield finding(place, f"unit `{title}` lists {what} {where}; a component runs in one unit")
            homes.setdefault(name, title)
    lost = [name for name in facts.parts if name not in homes]
    if lost and "*" not in homes:
        text = f'no unit runs {", ".join(lost)}; list them, or let one unit take the rest: components = ["*"]'
        yield finding(document.place("unit"), text)


def _unknown(facts: Facts, name: str) -> str:
    return f"which app {facts.app.name} does not have. {nearest(name, facts.parts)}"


def _sizes(name: str, unit: Unit, document: Document) -> Iterator[Finding]:
    low, high = unit.replicas
    place = document.place("unit", name, "replicas")
    if low > high:
        yield finding(
            place,
            f"unit `{name}` has replicas [{low}, {high}]; the first is the least, so write [{high}, {low}]",
        )
    elif low < 0 or high < 1:
        yield finding(
            place, f"unit `{name}` has replicas [{low}, {high}]; at least one must be allowed to run: [1, 1]"
        )
    elif high > 1:
        # A memory or file ledger has one writer; partitions are not leased to replicas.
        yield finding(
            place, f"unit `{name}` has replicas [{low}, {high}], but its state has one writer; use [1, 1]"
        )
    for key, value, least in (("cpu", unit.cpu, "0.1"), ("memory_mb", unit.memory_mb, "64")):
        if not value > 0:
            place = document.place("unit", name, key)
            yield finding(place, f"unit `{name}` has {key} = {value}; it must be over 0, as {key} = {least}")
    if not unit.gpu >= 0:
        text = f"unit `{name}` has gpu = {unit.gpu}; it may be 0, a part of one, or a number of them"
        yield finding(document.place("unit", name, "gpu"), text)


def _edges(facts: Facts, topology: Topology, document: Document) -> Iterator[Finding]:
    for edge in topology.edge:
        names = [name.strip() for name in edge.split("->")]
        place = document.place("edge", edge)
        if edge != "*" and len(names) != 2:
            yield finding(
                place, f'edge `{edge}` names no two components; write "Caller -> Callee", or "*" for all'
            )
        for name in names if edge != "*" and len(names) == 2 else ():
            if name not in facts.parts:
                yield finding(place, f"edge `{edge}` names `{name}`, {_unknown(facts, name)}")


def _apart(facts: Facts, topology: Topology, document: Document, calls: Calls) -> Iterator[Finding]:
    """Yield a fault for each call and each event in memory that would have to leave its process."""
    home = {name: title for title, names in units_of(facts, topology).items() for name in names}
    edges = {
        (title.partition(".")[0], reach.component) for title, reaches in calls.items() for reach in reaches
    }
    edges |= {
        (part.name, field.kind.__name__)
        for part in facts.parts.values()
        for field in part.fields.values()
        if field.need == "view"
    }
    for caller, callee in sorted(edges):
        if home.get(caller) != home.get(callee) and caller in home and callee in home:
            via = topology.edge_of(caller, callee).via
            text = (
                f"edge `{caller} -> {callee}` is `{via}`, but the two run in different units, "
                f"`{home[caller]}` and `{home[callee]}`; join the units"
            )
            written = (
                ("edge", f"{caller} -> {callee}")
                if f"{caller} -> {callee}" in topology.edge
                else ("edge", "*")
            )
            yield finding(document.place(*written), text)
    for name, event in facts.events().items():
        units = {home[part.name] for part in facts.consumers(event) if part.name in home}
        units |= {
            home[part.name] for part in facts.parts.values() if event in part.publishes and part.name in home
        }
        if len(units) > 1 and topology.topic_of(name).via == "memory":
            crossed = ", ".join(sorted(units))
            text = f'topic `{name}` is in memory, but crosses the units {crossed}; use via = "log"'
            yield finding(document.place("topic", name if name in topology.topic else "*", "via"), text)


def _topics(facts: Facts, topology: Topology, document: Document) -> Iterator[Finding]:
    events = facts.events()
    for name in topology.topic:
        if name != "*" and name not in events:
            text = f"topic `{name}` is no event of app {facts.app.name}. {nearest(name, events)}"
            yield finding(document.place("topic", name), text)
    written = [name for name in ("*", *events) if name in topology.topic]
    if "*" not in written and len(written) < len(events):
        written.append("*")  # the rest travels by the default
    in_memory = [name for name in written if topology.topic_of(name).via == "memory"]
    in_log = [name for name in written if topology.topic_of(name).via == "log"]
    level = topology.durability
    for name in in_memory if level != "none" else ():
        text = (
            f"topic `{name}` is in memory, but durability is `{level}`: it would be silently weakened; "
            'use via = "log", or durability = "none"'
        )
        yield finding(document.place("topic", name, "via"), text)
    for name in in_log if level == "none" else ():
        text = (
            f"topic `{name}` is in a log, but durability is `none`: the log would not be written; "
            'use durability = "process" or "power", or via = "memory"'
        )
        yield finding(document.place("topic", name, "via"), text)


def _limits(facts: Facts, topology: Topology, document: Document) -> Iterator[Finding]:
    for key, value in (("partitions", topology.partitions), ("window", topology.window)):
        if value < 1:
            yield finding(document.place(key), f"`{key}` is {value}; it must be at least 1")
    for name, limit in topology.component.items():
        if name != "*" and name not in facts.parts:
            yield finding(document.place("component", name), f"limits of `{name}`, {_unknown(facts, name)}")
        if limit.concurrency < 1:
            text = (
                f"component `{name}` has concurrency = {limit.concurrency}; at least one call must be let in"
            )
            yield finding(document.place("component", name, "concurrency"), text)
        if limit.queue < 0:
            text = f"component `{name}` has queue = {limit.queue}; use 0 for no waiting"
            yield finding(document.place("component", name, "queue"), text)
        if limit.deadline_s is not None and not limit.deadline_s > 0:
            text = f"component `{name}` has deadline_s = {limit.deadline_s}; it must be over 0"
            yield finding(document.place("component", name, "deadline_s"), text)


def settings_of(facts: Facts, topology: Topology, document: Document) -> tuple[dict[str, Any], list[Finding]]:
    """Return the settings as values of their fields' types, and a fault for each that is none."""
    whole, faults = dict[str, Any](), list[Finding]()
    for title, value in topology.setting.items():
        name, _, field = title.partition(".")
        place = document.place("setting", *title.split("."))
        part = facts.parts.get(name)
        known = [f.name for f in part.fields.values() if f.need == "setting"] if part else []
        if part is None:
            faults.append(finding(place, f"setting `{title}` is of `{name}`, {_unknown(facts, name)}"))
        elif field not in known:
            faults.append(finding(place, _no_setting(part, title, field, known)))
        else:
            try:
                whole[title] = _converted(value, part.fields[field].kind, title)
            except Refused as error:
                faults.append(finding(place, f"setting {error}"))
    return whole, faults


def _no_setting(part: Part, title: str, field: str, known: list[str]) -> str:
    if field in part.fields:
        need = part.fields[field].need
        rest = ", ".join(known) or "none"
        return f"setting `{title}` is a {need}, which no topology sets. Settings of {part.name}: {rest}."
    return f"setting `{title}`: {part.name} has no setting `{field}`. {nearest(field, known)}"


def _converted(value: Any, kind: Any, title: str) -> Any:
    """Return a TOML value as the setting's type, as a list for a tuple. Refused when it does not fit."""
    try:
        return conform(msgspec.convert(value, kind), kind, f"`{title}`")
    except msgspec.ValidationError as error:
        raise Refused(f"`{title}` is {value!r}: {error}") from None


def _missing_settings(facts: Facts, topology: Topology) -> Iterator[Finding]:
    for part in facts.parts.values():
        settings = [f for f in part.fields.values() if f.need == "setting" and not mutable(f.kind)]
        given = defaults(part.component) if settings else {}
        for field in settings:
            title = f"{part.name}.{field.name}"
            if field.name not in given and title not in topology.setting:
                text = f"setting `{title}` has no default and the topology gives none; add it under [setting]"
                yield finding(part.place, text)
