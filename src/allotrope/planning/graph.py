"""Who reaches whom: dependencies, calls, cycles, the views that an operation reads, where events lead."""

import math
import typing
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any, NamedTuple

import msgspec

from allotrope.kernel.components import App, Component, Field
from allotrope.kernel.errors import nearest
from allotrope.kernel.operations import Operation
from allotrope.planning.documents import Finding, finding
from allotrope.planning.facts import Body, Facts, Part, Use, facts_of, place_in, spelled

READS = "__reads__"  # the attribute of a component of another app that says what its answers depend on
_TABLE_READS, _TABLE_WRITES = ("get", "items"), ("put", "delete")


class Reach(NamedTuple):
    """One call that an operation makes: through which field, which operation of which component."""

    field: str
    component: str
    operation: str


class Graph(msgspec.Struct, frozen=True):
    """The calls of every operation by title, the views it reads through queries, and where events lead."""

    calls: dict[str, tuple[Reach, ...]]
    reads: dict[str, tuple[str, ...]]
    downstream: dict[str, tuple[str, ...]]
    loose: tuple[tuple[str, str, str], ...]  # component, field, what it names


def graph_of(facts: Facts) -> tuple[Graph, list[Finding]]:
    """Return how the app hangs together, and what is wrong with it."""
    faults: list[Finding] = []
    needed = {name: _needed(facts, part, faults) for name, part in facts.parts.items()}
    calls = {
        body.title: tuple(_calls(part, body, needed[part.name], faults)) for part, body in facts.bodies()
    }
    faults += _cycles(facts, needed)
    faults += _hidden(facts, calls)
    reads = {body.title: _views(facts, calls, body.title, set()) for _, body in facts.bodies()}
    faults += _unsure(facts, calls, reads)
    for part in facts.parts.values():
        for field in part.fields.values():
            if field.latest and not 0 < field.latest.staleness_s < math.inf:
                text = (
                    f"{part.name}.{field.name} may be {field.latest.staleness_s:g} s old, which is no bound"
                )
                faults.append(finding(part.place, f"{text}; write the seconds, as Latest(60)"))
    loose = tuple(
        (part.name, field.name, spelled(field.kind))
        for part in facts.parts.values()
        for field in part.fields.values()
        if field.latest
    )
    named = {title: tuple(sorted(views)) for title, views in reads.items()}
    return Graph(calls, named, {name: _downstream(facts, name) for name in facts.parts}, loose), faults


def _unsure(
    facts: Facts, calls: Mapping[str, tuple[Reach, ...]], reads: Mapping[str, set[str]]
) -> Iterator[Finding]:
    """Yield the operations whose answer would depend on the attempt, or on who else was in the batch."""
    varying = {body.title for _, body in facts.bodies() if not body.operation.repeatable}
    for part, body in facts.bodies():
        operation, place = body.operation, body.operation.place
        if operation.kind == "query" and operation.repeatable:
            for reach in calls[body.title]:
                if (callee := f"{reach.component}.{reach.operation}") in varying:
                    text = f"{body.title} asks {callee}, which cannot repeat its answer; "
                    yield finding(place, f"{text}declare {body.title} repeatable=False as well")
        if operation.streams and not operation.repeatable:
            text = f"{body.title} streams and cannot repeat its answer, so it could not be recorded; "
            yield finding(place, f"{text}return a tuple")
        if operation.batch:
            timed = {use.field for use in body.uses} & {
                field.name for field in part.fields.values() if field.need in ("clock", "chance")
            }
            for name in sorted({*reads[body.title], *timed}):
                text = f"{body.title} is batched and reads `{name}`; its values come from different inputs, "
                yield finding(place, f"{text}so take what it reads as a part of each value")


def face_of(kind: Any) -> tuple[str, ...]:
    """Return the operations that a Protocol asks for."""
    members = vars(typing.get_origin(kind) or kind)
    return tuple(
        name for name, member in members.items() if isinstance(member, FunctionType) and name[0] != "_"
    )


def _needed(facts: Facts, part: Part, faults: list[Finding]) -> dict[str, Component]:
    """Return what each view and component field stands for; a fault for each that is missing."""
    found: dict[str, Component] = {}
    for field in part.fields.values():
        if field.need in ("view", "component"):
            provider = facts.app.provider(field.kind)
            if provider is not None:
                found[field.name] = provider
            else:
                faults.append(finding(part.place, f"{part.name}.{field.name} {_missing(facts, field)}"))
    return found


def _missing(facts: Facts, field: Field) -> str:
    name, known = spelled(field.kind), facts.parts
    if not getattr(field.kind, "_is_protocol", False):
        if name in known:
            other = f"the app's `{name}` is another class ({known[name].place})"
            return f"needs `{name}` of {field.kind.__module__}, but {other}; import that one"
        lacks = f"which app {facts.app.name} does not have; add it to App(...)"
        return f"needs `{name}`, {lacks}. {nearest(name, known)}"
    face = face_of(field.kind)
    able = [part.name for part in known.values() if set(face) <= part.bodies.keys()]
    asked = ", ".join(face)
    if able:
        several = ", ".join(able)
        return f"asks for the face `{name}` ({asked}), and several have it: {several}; name one as the type"
    near = max(known.values(), key=lambda part: len(part.bodies.keys() & set(face)), default=None)
    closest = ""
    if near is not None and (near.bodies.keys() & set(face)):
        closest = f" Nearest: `{near.name}`, which lacks {', '.join(sorted(set(face) - near.bodies.keys()))}."
    nobody = f"which no component of app {facts.app.name} has; add one"
    return f"asks for the face `{name}` ({asked}), {nobody}.{closest}"


def _calls(part: Part, body: Body, needed: Mapping[str, Component], faults: list[Finding]) -> Iterator[Reach]:
    """Yield the queries that one operation asks; faults for what may not be called."""
    for use in body.uses:
        need = part.fields[use.field].need
        if need == "table":
            faults += _table_faults(body, use)
        elif need == "view" and use.name not in ("of", ""):
            text = f"{written(body, use)}; a view is read with `{use.field}.of(key)` only"
            faults.append(finding(use.place, text))
        elif need == "component" and use.field in needed:
            yield from _asked(part.fields[use.field], body, use, needed[use.field], faults)
    faults += _own_calls(part, body)


def written(body: Body, use: Use) -> str:
    """Return what a body does with a field, as the author wrote it."""
    return f"{body.title} uses `{use.field}.{use.name}`"


def _asked(field: Field, body: Body, use: Use, provider: Component, faults: list[Finding]) -> Iterator[Reach]:
    """Yield the query that a use asks; of a field that is passed on as a whole, every query of its face."""
    operations = {operation.name: operation for operation in provider.operations}
    if not use.name:
        # What stands in the field at run time answers queries only, so nothing else can be reached by it.
        face = face_of(field.kind) if getattr(field.kind, "_is_protocol", False) else operations
        yield from (
            Reach(field.name, provider.name, name) for name in face if operations[name].kind == "query"
        )
    elif use.name not in operations:
        unknown = f"which is no operation of {provider.name}. {nearest(use.name, operations)}"
        faults.append(finding(use.place, f"{written(body, use)}, {unknown}"))
    elif operations[use.name].kind == "query":
        yield Reach(field.name, provider.name, use.name)
    else:
        faults.append(finding(use.place, _forbidden(body, operations[use.name])))


def _word(operation: Operation) -> str:
    return "command" if operation.kind == "command" else "handler"


def _forbidden(body: Body, called: Operation) -> str:
    if called.kind != "command":
        return (
            f"{body.title} calls the handler {called.title}, which only its event may run; publish the event"
        )
    remedy = f"publish an event that {called.component} handles"
    return f"{body.title} calls the command {called.title}, but one operation is one transaction; {remedy}"


def _table_faults(body: Body, use: Use) -> list[Finding]:
    if use.name and use.name not in (*_TABLE_READS, *_TABLE_WRITES):
        known = nearest(use.name, (*_TABLE_READS, *_TABLE_WRITES))
        return [finding(use.place, f"{written(body, use)}, which a Table does not have. {known}")]
    if use.name in _TABLE_WRITES and not body.operation.writes:
        return [finding(use.place, f"{written(body, use)}, but a query only reads; make it a command")]
    return []


def _own_calls(part: Part, body: Body) -> Iterator[Finding]:
    for function, mention in body.mentioned:
        own = part.bodies.get(mention.names[1]) if mention.own and len(mention.names) > 1 else None
        if own is not None and own.operation.writes and own is not body:
            text = (
                f"{body.title} calls its own {_word(own.operation)} `{own.operation.name}`, "
                "but one operation is one transaction; move what both do into a plain method"
            )
            yield finding(place_in(function, mention), text)


def _cycles(facts: Facts, needed: Mapping[str, Mapping[str, Component]]) -> list[Finding]:
    """Return one fault for each cycle of dependencies, begun at its first component in the app."""
    faults: list[Finding] = []
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            round_trip = " -> ".join((*path[path.index(name) :], name))
            text = f"the calls go round: {round_trip}; let one of them publish an event instead"
            faults.append(finding(facts.parts[name].place, text))
        elif name not in done:
            for provider in {component.name: None for component in needed[name].values()}:
                visit(provider, (*path, name))
            done.add(name)

    for name in facts.parts:
        visit(name, ())
    return faults


def _hidden(facts: Facts, calls: Mapping[str, tuple[Reach, ...]]) -> Iterator[Finding]:
    """Yield a fault for each handler and command that reaches a table of another component."""
    for part, body in facts.bodies():
        if body.operation.writes:
            for path, table in _tables(facts, calls, body.title, (body.title,)):
                if not path[-1].startswith(f"{part.name}."):
                    kind, remedy = ("table", "make it a View, or ") if "." in table else ("view", "")
                    text = (
                        f"{body.title} reads the {kind} {table} of another component, {' -> '.join(path)}: "
                        f"what it finds depends on timing; {remedy}carry the value in the event"
                    )
                    yield finding(body.operation.place, text)


def kept_reads(app: App) -> dict[str, tuple[str, ...]]:
    """Return by title the tables, as `Component.table`, and the views that the answer of an operation depends on."""
    facts = facts_of(app)
    graph, _ = graph_of(facts)
    return {
        title: tuple(
            sorted({*graph.reads[title], *(t for _, t in _tables(facts, graph.calls, title, (title,)))})
        )
        for title in graph.calls
    }


def _tables(
    facts: Facts, calls: Mapping[str, tuple[Reach, ...]], title: str, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each way from an operation to a table, as the titles on it and the table."""
    part = facts.parts[title.partition(".")[0]]
    body = part.bodies[title.partition(".")[2]]
    for table in {use.field: None for use in body.uses if part.fields[use.field].need == "table"}:
        yield path, f"{part.name}.{table}"
    for kept in getattr(part.component.kind, READS, {}).get(body.operation.name, ()):
        yield path, kept
    for reach in calls[title]:
        callee = f"{reach.component}.{reach.operation}"
        if (
            callee not in path
            and facts.parts[reach.component].bodies[reach.operation].operation.kind == "query"
        ):
            yield from _tables(facts, calls, callee, (*path, callee))


def _views(facts: Facts, calls: Mapping[str, tuple[Reach, ...]], title: str, seen: set[str]) -> set[str]:
    """Return the views that an operation must wait for: not those it reads as they are (`Latest`)."""
    if title in seen:
        return set()
    seen.add(title)
    part = facts.parts[title.partition(".")[0]]
    fields = [part.fields[use.field] for use in part.bodies[title.partition(".")[2]].uses]
    found = {field.kind.__name__ for field in fields if field.need == "view" and not field.latest}
    for reach in calls[title]:
        if not part.fields[reach.field].latest:
            found |= _views(facts, calls, f"{reach.component}.{reach.operation}", seen)
    return found & facts.parts.keys()


def _downstream(facts: Facts, name: str) -> tuple[str, ...]:
    """Return the components that events lead to from here, in the order of the app."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for event in facts.parts[waiting.pop()].publishes:
            new = {consumer.name for consumer in facts.consumers(event)} - found
            found |= new
            waiting += new
    return tuple(other for other in facts.parts if other in found)
