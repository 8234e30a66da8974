"""Whether a topology fits an app: names, places, sizes, levels of durability, settings."""

from collections.abc import Iterator
from typing import Any

import msgspec

from allotrope.kernel.errors import Refused, nearest
from allotrope.kernel.exactness import mutable
from allotrope.kernel.messages import conform
from allotrope.planning.documents import Document, Finding, finding
from allotrope.planning.doors.connectors import connector_faults
from allotrope.planning.doors.gateway import gateway_faults
from allotrope.planning.doors.resilience import resilience_faults
from allotrope.planning.doors.retention import retention_faults
from allotrope.planning.doors.traits import log_faults
from allotrope.planning.doors.waiting import waiting_faults
from allotrope.planning.facts import Facts, Part
from allotrope.planning.graph import Reach
from allotrope.planning.topology import Topology, Unit
from allotrope.planning.values import defaults

Calls = dict[str, tuple[Reach, ...]]
SIDECARS = ("requests",)  # the kinds that there are
SCHEMES = ("http", "https", "grpc", "grpcs")  # how a foreign unit may be spoken to


def layout_faults(facts: Facts, topology: Topology, document: Document, calls: Calls) -> Iterator[Finding]:
    """Yield a fault for each line of the topology that the app does not bear out."""
    yield from _members(facts, topology, document)
    for name, unit in topology.unit.items():
        yield from _sizes(name, unit, document)
        yield from _sidecars(name, unit, document)
    yield from _sidecar_limits(topology, document)
    yield from _foreign(facts, topology, document)
    yield from _apps(topology, document)
    yield from _edges(facts, topology, document)
    yield from _apart(facts, topology, document, calls)
    yield from _topics(facts, topology, document)
    yield from retention_faults(facts, topology, document)
    yield from _limits(facts, topology, document)
    yield from _missing_settings(facts, topology)
    yield from gateway_faults(facts, topology, document, units_of(facts, topology))
    yield from resilience_faults(facts, topology, document)
    yield from log_faults(topology, document)
    yield from connector_faults(facts, topology, document)
    yield from waiting_faults(topology, document, calls, home_of(facts, topology))


def units_of(facts: Facts, topology: Topology) -> dict[str, tuple[str, ...]]:
    """Return the components that each unit runs; `*` stands for all that no unit names."""
    named = {name for unit in topology.unit.values() for name in unit.components}
    units: dict[str, tuple[str, ...]] = {}
    for title, unit in topology.unit.items():
        rest = named if "*" in unit.components else facts.parts.keys()
        own = tuple(name for name in facts.parts if name in unit.components or name not in rest)
        units |= {name: (name,) for name in own} if unit.each else {title: own}
    return units


def home_of(facts: Facts, topology: Topology) -> dict[str, str]:
    """Return the unit of each component."""
    return {name: title for title, names in units_of(facts, topology).items() for name in names}


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
    for key, value, least in (("cpu", unit.cpu, "0.1"), ("memory_mb", unit.memory_mb, "64")):
        if not value > 0:
            place = document.place("unit", name, key)
            yield finding(place, f"unit `{name}` has {key} = {value}; it must be over 0, as {key} = {least}")
    if not unit.gpu >= 0 or (unit.gpu > 1 and unit.gpu != int(unit.gpu)):
        text = f"unit `{name}` has gpu = {unit.gpu}; it may be 0, a part of one, or a number of them"
        yield finding(document.place("unit", name, "gpu"), text)


def _sidecars(name: str, unit: Unit, document: Document) -> Iterator[Finding]:
    for sidecar in unit.sidecars:
        if sidecar not in SIDECARS:
            text = f"unit `{name}` wants the sidecar `{sidecar}`, which there is not. {nearest(sidecar, SIDECARS)}"
            yield finding(document.place("unit", name, "sidecars", sidecar), text)


def _sidecar_limits(topology: Topology, document: Document) -> Iterator[Finding]:
    for kind, limits in topology.sidecar.items():
        if kind not in SIDECARS:
            text = f"sidecar `{kind}` is none that there is. {nearest(kind, SIDECARS)}"
            yield finding(document.place("sidecar", kind), text)
        for key in ("ring_kb", "file_mb", "file_s", "files"):
            if not getattr(limits, key) > 0:
                text = f"sidecar `{kind}` has {key} = {getattr(limits, key)}; it must be over 0"
                yield finding(document.place("sidecar", kind, key), text)


def _foreign(facts: Facts, topology: Topology, document: Document) -> Iterator[Finding]:
    """Yield a fault for what cannot run elsewhere, and for what can run nowhere else."""
    homes = units_of(facts, topology)
    for title, unit in topology.unit.items():
        place = document.place("unit", title, "foreign")
        scheme, _, rest = unit.foreign.partition("://")
        if unit.foreign and (scheme not in SCHEMES or not rest):
            text = f"unit `{title}` is at {unit.foreign!r}; write {' or '.join(f'{s}://HOST:PORT' for s in SCHEMES)}"
            yield finding(place, text)
        if unit.foreign and unit.each:
            yield finding(place, f"unit `{title}` is foreign: it is one unit, so leave out `each`")
        for name in homes.get(title, ()) if unit.foreign else ():
            for reason in _rooted(facts.parts[name]):
                yield finding(
                    place, f"unit `{title}` is foreign, but {reason}; run {name} in a unit of its own"
                )
    abroad = {
        n for title, unit in topology.unit.items() if unit.foreign or unit.app for n in homes.get(title, ())
    }
    for name, part in facts.parts.items():
        if is_foreign(part) and name not in abroad:
            text = f"{name} is known by its contract only: give it to a unit that says where it runs, "
            yield finding(document.place("unit"), f'{text}foreign = "http://HOST:PORT" or app = "module:app"')


def is_foreign(part: Part) -> bool:
    """Return whether a component is known by its contract only."""
    return hasattr(part.component.kind, "__foreign__")


def _apps(topology: Topology, document: Document) -> Iterator[Finding]:
    """Yield a fault for each unit whose own app could not be started."""
    for title, unit in topology.unit.items():
        place = document.place("unit", title, "app")
        if unit.app and unit.each:
            yield finding(place, f"unit `{title}` has an app of its own: it is one unit, so leave out `each`")
        if unit.app and unit.foreign:
            yield finding(
                place,
                f"unit `{title}` has an app of its own and is foreign; say one of the two: who starts it?",
            )


def _rooted(part: Part) -> Iterator[str]:
    """Yield each reason why a component cannot be one that somebody else implements."""
    if part.component.is_view:
        yield f"{part.name} is a view"
    for body in part.bodies.values():
        if body.operation.sources:
            yield f"{body.title} takes events"


def forgetful(facts: Facts, topology: Topology, document: Document) -> Iterator[Finding]:
    """Yield a fault where units would be processes of their own, and lose their state with each restart."""
    titles = units_of(facts, topology)
    many = [title for title, unit in topology.unit.items() if unit.replicas != (1, 1)]
    if topology.durability == "none" and (len(titles) > 1 or many):
        text = (
            f"durability is `none`, but {', '.join(titles)} run in processes of their own, "
            'which may end one by one; use durability = "process" or "power", or one unit with replicas = [1, 1]'
        )
        yield finding(document.place("durability"), text)


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
    home = home_of(facts, topology)
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
        via = topology.edge_of(caller, callee).via
        if via not in ("rpc", "queue") and caller in home and callee in home and home[caller] != home[callee]:
            text = (
                f"edge `{caller} -> {callee}` is `{via}`, but the two run in different units, "
                f"`{home[caller]}` and `{home[callee]}`; use `rpc` or `queue`, or join the units"
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
        if limit.attempts < 1:
            text = f"component `{name}` has attempts = {limit.attempts}; a handler is tried at least once"
            yield finding(document.place("component", name, "attempts"), text)
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
        elif is_foreign(part):
            continue  # its own app has the field, and judges it
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
