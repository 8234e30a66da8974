"""A plan as text for a terminal: plain characters, aligned, nothing that the plan does not say."""

import textwrap
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from allotrope.kernel.components import Component, Field, Latest
from allotrope.kernel.messages import Event, types_of
from allotrope.kernel.operations import Operation
from allotrope.kernel.views import View
from allotrope.planning.doors.traits import TRAITS, largest_kb
from allotrope.planning.facts import spelled
from allotrope.planning.plans import Plan
from allotrope.planning.values import defaults

WIDTH = 100
_LENGTHS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"))


def expansion(plan: Plan, width: int = WIDTH) -> str:
    """Return all that a plan has decided, section by section, the warnings last; lines break between words."""
    topology = plan.topology
    facts = (
        f"durability {topology.durability}, reply after the {_REPLIES[topology.reply]}, "
        f"{topology.partitions} partitions, {topology.window} inputs in flight"
    )
    head = [f"{plan.app.name} under {plan.name}", f"  {facts}"]
    if topology.durability != "none":
        head.append(f"  {_log(plan)}")
    sections = [
        ("units", _units(plan, width)),
        ("components", _components(plan, width)),
        ("calls", _calls(plan)),
        ("views", _views(plan)),
        ("topics", _topics(plan)),
        ("data path", _paths(plan)),
        (
            "outside equality (read as they are, without waiting)",
            _columns([*_loose(plan), *_fallbacks(plan)]),
        ),
        ("answers that may vary (recorded before use)", [f"  {title}" for title in plan.unrepeatable]),
        ("warnings", [f"  {warning}" for warning in plan.warnings]),
    ]
    for title, lines in sections:
        if listed := list(lines):
            head += ["", title, *listed]
    return "\n".join(piece for line in head for piece in folded(line, width)) + "\n"


def folded(line: str, width: int, hang: int = 2) -> list[str]:
    """Return a line as pieces of at most `width` columns, the later ones `hang` deeper; no word is cut."""
    if len(line) <= width:
        return [line]
    indent = len(line) - len(line.lstrip())
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    later = " " * (indent + hang)
    return textwrap.wrap(line, width, subsequent_indent=later, replace_whitespace=False, **options)


def _log(plan: Plan) -> str:
    """Return what carries the events, and what it gives."""
    log, traits = plan.topology.log, TRAITS[plan.topology.log.kind]
    where = (
        f"{log.kind} at {log.url}, as {log.name or plan.app.name}"
        if log.url
        else "a file in the app's folder"
    )
    best = f" ({traits.condition})" if traits.condition else ""
    ledger = f"; state in PostgreSQL at {plan.topology.ledger.url}" if plan.topology.ledger.url else ""
    return (
        f"log {where}; durability {traits.durability} at best{best}, order of {traits.order}, a repeated request is "
        f"known for {traits.repeats_h} h, events of {largest_kb(plan.topology):,} KiB at most{ledger}"
    )


_REPLIES = {"chain": "whole chain of handlers", "effect": "own commit", "accepted": "log has it"}


def _columns(rows: Sequence[Sequence[str]], indent: int = 2, room: int = 0) -> list[str]:
    """Return rows as lines whose cells begin at the same place; those too long for `room` push no others aside."""
    first = max((len(row[0]) for row in rows), default=0)
    short = [row for row in rows if not room or indent + first + 2 + len("  ".join(row[1:])) <= room]
    widths = [max(map(len, column)) for column in zip(*(short or rows), strict=True)]
    lines = []
    for row in rows:
        padded = "  ".join(cell.ljust(width) for cell, width in zip(row, (first, *widths[1:]), strict=True))
        line = f"{' ' * indent}{padded}".rstrip()
        if room and len(line) > room:
            tight = f"{' ' * indent}{row[0].ljust(first)}  {'  '.join(filter(None, row[1:]))}"
            lines += folded(tight, room, first + 4)
        else:
            lines.append(line)
    return lines


def _units(plan: Plan, width: int) -> Iterator[str]:
    for title, names in plan.units.items():
        unit = plan.topology.unit[title]
        low, high = unit.replicas
        count = f"{low} replica{'s' * (low != 1)}" if low == high else f"{low} to {high} replicas"
        gpu = f"{unit.gpu:g} gpu" if unit.gpu else ""
        sizes = filter(None, (count, f"{unit.cpu:g} cpu", f"{unit.memory_mb} MB", gpu))
        yield f"  {title}  {', '.join(sizes)}"
        members = ", ".join((*names, *(f"sidecar {sidecar}" for sidecar in unit.sidecars)))
        yield from textwrap.wrap(members, width, initial_indent="    ", subsequent_indent="    ")


def _components(plan: Plan, width: int) -> Iterator[str]:
    for component in plan.app.components.values():
        if component.is_view:
            continue
        limit = plan.topology.limit_of(component.name)
        more = f", {_span(limit.deadline_s)} each" if limit.deadline_s else ""
        more += f", events tried {limit.attempts} times" if component.sources() else ""
        yield f"  {component.name}  ({limit.concurrency} calls at once, {limit.queue} waiting{more})"
        rows = [_operation(operation) for operation in component.operations]
        rows += [_needed(field) for field in component.fields if field.need != "setting"]
        rows += _settings(plan, component)
        yield from _columns(rows, 4, width)


def _operation(operation: Operation) -> tuple[str, str, str]:
    takes = ", ".join(kind.__name__ for kind in operation.sources) if operation.kind == "on" else ""
    if operation.period is not None:
        takes = _span(operation.period.total_seconds())
    if operation.kind in ("query", "command"):
        takes = ", ".join(f"{name}: {spelled(kind)}" for name, kind in operation.parameters().items())
    marks = [f"key {operation.key}"] if operation.key else []
    marks += [f"batches of {operation.batch}"] if operation.batch else []
    marks += [f"within {_span(operation.deadline_s)}"] if operation.deadline_s else []
    marks += [f"faults {', '.join(fault.__name__ for fault in operation.faults)}"] if operation.faults else []
    answer = "nothing" if operation.result() in (None, type(None)) else spelled(operation.result())
    return operation.kind, f"{operation.name}({takes}) -> {answer}", "; ".join(marks)


def _needed(field: Field) -> tuple[str, str, str]:
    return "needs", f"{field.name}: {spelled(field.kind)}", "latest" if field.latest else ""


def _settings(plan: Plan, component: Component) -> Iterator[tuple[str, str, str]]:
    given, written = defaults(component), plan.topology.setting
    for field in component.needs("setting"):
        title = f"{component.name}.{field.name}"
        source = "by the topology" if title in written else "by default"
        value = written.get(title, given.get(field.name))
        yield "setting", f"{field.name}: {spelled(field.kind)} = {value!r}", source


def _calls(plan: Plan) -> list[str]:
    rows = {
        (title, f"-> {reach.component}.{reach.operation}", f"by {edge.via}"): None
        for title, reaches in plan.calls.items()
        for reach in reaches
        for edge in [plan.topology.edge_of(title.partition(".")[0], reach.component)]
    }
    return _columns(list(rows))


def _views(plan: Plan) -> Iterator[str]:
    for component in plan.app.components.values():
        if not issubclass(component.kind, View):
            continue
        kind = component.kind
        sources = ", ".join(source.__name__ for source in kind.sources())
        key = kind.__key__ or "/".join(dict.fromkeys(source.__key__ for source in kind.sources()))
        kept = f", kept {_span(kind.__reach__ / 1e6)}" if kind.__windows__ else ""
        readers = [title for title, views in plan.reads.items() if component.name in views]
        time = f", in time of `{kind.__at__}`" if kind.__at__ else ""
        yield f"  {component.name}  adds up {sources} by {key}{time}{kept}"
        rows = []
        for aggregate in kind.__aggregates__:
            over = f"over {_span(aggregate.window.total_seconds())}" if aggregate.window else "over all time"
            delay = f", {_span(aggregate.delay.total_seconds())} ago" if aggregate.delay else ""
            rows.append((aggregate.name, f"{type(aggregate).__name__}({aggregate.field})", over + delay))
        yield from _columns(rows, 4)
        if readers:
            yield f"    waited for by {', '.join(readers)}"


def _topics(plan: Plan) -> list[str]:
    events = plan.app.events()
    topology = plan.topology
    return _columns(
        [(name, f"by {kind.__key__}", topology.topic_of(name).via) for name, kind in events.items()]
    )


def _paths(plan: Plan) -> Iterator[str]:
    """Yield the way of events as a tree, begun at what enters from outside; no part is shown twice."""
    operations = [operation for c in plan.app.components.values() for operation in c.operations]
    published = {event for operation in operations if operation.writes for event in operation.publishes()}
    shown: set[str] = set()
    for operation in operations:
        if operation.kind in ("command", "every"):
            yield from _onward(plan, operation, shown, 2)
    for event in plan.app.events().values():
        if event not in published and event.__name__ != "Tick":
            yield from _event(plan, event, shown, 2)


def _onward(plan: Plan, operation: Operation, shown: set[str], indent: int) -> Iterator[str]:
    again = operation.title in shown
    follows = again and bool(operation.publishes())
    yield f"{' ' * indent}{operation.title} ({operation.kind}){', as above' if follows else ''}"
    shown.add(operation.title)
    for event in operation.publishes() if not again else ():
        yield from _event(plan, event, shown, indent + 2)


def _event(plan: Plan, event: type[Event], shown: set[str], indent: int) -> Iterator[str]:
    yield f"{' ' * indent}-> {event.__name__}"
    for component in plan.app.consumers(event):
        if component.is_view:
            yield f"{' ' * (indent + 3)}{component.name} (view)"
        for operation in component.operations:
            if event in operation.sources:
                yield from _onward(plan, operation, shown, indent + 3)


def _loose(plan: Plan) -> list[tuple[str, str, str]]:
    rows = []
    for component, field, kind in plan.loose:
        marks: Iterable[Any] = typing.get_args(types_of(plan.app.components[component].kind)[field])
        age = next((mark.staleness_s for mark in marks if isinstance(mark, Latest)), 0.0)
        rows.append((f"{component}.{field}", kind, f"at most {_span(age)} old"))
    return rows


def _fallbacks(plan: Plan) -> Iterator[tuple[str, str, str]]:
    for title, wanted in plan.topology.resilience.items():
        if wanted.fallback:
            yield title, wanted.fallback, "instead, when it cannot be had in time"


def _span(seconds: float) -> str:
    """Return a length of time in the largest unit that gives at least one."""
    size, unit = next(((size, unit) for size, unit in _LENGTHS if seconds >= size), (0.001, "ms"))
    return f"{seconds / size:.4g} {unit}"
