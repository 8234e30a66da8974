"""Whether events can flow: what handlers take and give, what is published, keys, and what views add up."""

import copy
import enum
import types
import typing
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Union
from uuid import UUID

from allotrope.kernel.aggregates import Aggregate
from allotrope.kernel.errors import nearest
from allotrope.kernel.messages import Event, place_of, types_of
from allotrope.kernel.views import View
from allotrope.planning.documents import Finding, finding
from allotrope.planning.facts import UNRESOLVED, Body, Facts, Part, spelled
from allotrope.planning.values import piece_of

_SAMPLES = (
    "a", 1, 1.0, True, b"a", Decimal(1), UUID(int=1),
    datetime(2000, 1, 1, tzinfo=UTC), date(2000, 1, 1), time(1), timedelta(1),
)  # fmt: skip


def stream_faults(facts: Facts) -> Iterator[Finding]:
    """Yield a fault for each event that cannot be keyed, handled, published or added up."""
    for _, body in facts.bodies():
        yield from _sources(body)
        yield from _numbers(body)
        if body.readable:
            yield from _answer(body)
    for part in facts.parts.values():
        if part.component.is_view:
            yield from _view(part)
    yield from _twins(facts)


def _sources(body: Body) -> Iterator[Finding]:
    operation = body.operation
    sources: tuple[Any, ...] = operation.sources  # the author may have written anything
    if operation.kind == "on" and not operation.sources:
        yield finding(operation.place, f"{body.title} is a handler of nothing; name its events: @on(Payment)")
    for source in sources:
        if not (isinstance(source, type) and issubclass(source, Event)):
            yield finding(
                operation.place,
                f"{body.title} handles {spelled(source)}, which is no Event; derive it from Event",
            )
        elif not source.__key__:
            yield finding(operation.place, f"{body.title} handles {_keyless(source)}")
    if operation.kind in ("on", "every") and body.readable:
        yield from _taken(body)
    if operation.key and operation.key not in body.parameters and body.readable:
        text = f"the key `{operation.key}` of {body.title} is not one of its parameters. "
        yield finding(operation.place, text + nearest(operation.key, body.parameters))


def _numbers(body: Body) -> Iterator[Finding]:
    operation = body.operation
    if operation.period is not None and operation.period <= timedelta(0):
        yield finding(operation.place, f"{body.title} runs every {operation.period}; a period is over 0")
    if operation.deadline_s is not None and not operation.deadline_s > 0:
        yield finding(
            operation.place, f"{body.title} has deadline_s={operation.deadline_s}; it must be over 0"
        )


def _taken(body: Body) -> Iterator[Finding]:
    """Yield a fault when a handler does not take exactly what it is sent."""
    place, kinds = body.operation.place, list(body.parameters.values())
    if len(kinds) != 1:
        yield finding(
            place, f"{body.title} takes {len(kinds)} parameters; a handler takes one, the event or tick"
        )
        return
    taken = set(_leaves(kinds[0]))
    sources: tuple[Any, ...] = body.operation.sources
    for source in sources:
        if isinstance(source, type) and not any(
            isinstance(kind, type) and issubclass(source, kind) for kind in taken
        ):
            shown = spelled(kinds[0])
            yield finding(
                place,
                f"{body.title} handles {source.__name__}, but its parameter is {shown}; make them agree",
            )


def _answer(body: Body) -> Iterator[Finding]:
    place, leaves = body.operation.place, _leaves(piece_of(body))
    events = [leaf for leaf in leaves if isinstance(leaf, type) and issubclass(leaf, Event)]
    if body.operation.kind == "query" and events:
        names = ", ".join(event.__name__ for event in events)
        remedy = "return a Message, or make it a command"
        text = f"query {body.title} returns the event {names}, but a query publishes nothing; {remedy}"
        yield finding(place, text)
    if body.operation.kind in ("on", "every"):
        for leaf in leaves:
            if leaf not in (None, types.NoneType) and leaf not in events:
                shown = spelled(leaf)
                remedy = "return an event, a tuple of events, or None"
                text = f"{body.title} returns {shown}, but nobody waits for its answer; {remedy}"
                yield finding(place, text)
    for event in events:
        if body.operation.writes and not event.__key__:
            yield finding(place, f"{body.title} publishes {_keyless(event)}")


def _keyless(event: type[Event]) -> str:
    name = event.__name__
    return f"{name}, which has no key; name its entity: class {name}(Event, key=...)"


def _leaves(kind: Any) -> list[Any]:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _leaves(parts[0])
    if origin in (Union, types.UnionType, tuple):
        return [leaf for part in parts if part is not ... for leaf in _leaves(part)]
    return [kind]


def _twins(facts: Facts) -> Iterator[Finding]:
    """Yield a fault for each event class that shares its name with another; the log knows events by name."""
    first: dict[str, type[Event]] = {}
    for kind in facts.event_kinds():
        other = first.setdefault(kind.__name__, kind)
        if other is not kind:
            modules = f"of {other.__module__} and of {kind.__module__}"
            text = f"two events are called {kind.__name__}, {modules}; rename one"
            yield finding(place_of(kind), text)


def _view(part: Part) -> Iterator[Finding]:
    kind = part.component.kind
    assert issubclass(kind, View)
    place = part.place
    if not kind.__aggregates__:
        yield finding(
            place, f"view {part.name} has no aggregates; add one, as `count = Count(window=days(1))`"
        )
    if not kind.sources():
        yield finding(
            place,
            f"view {part.name} does not say what it adds up; write class {part.name}(View[Payment])",
        )
    if not kind.__at__ and kind.__windows__:
        yield finding(
            place,
            f'view {part.name} has windows but no time; name it: class {part.name}(View[...], at="at")',
        )
    for source in kind.sources():
        try:
            named = types_of(source)
        except UNRESOLVED:
            continue  # said once, of the event itself
        hints = {name: named[name] for name in source.__struct_fields__}
        for text in (*_named(kind, source, hints), *_aggregates(kind, source, hints)):
            yield finding(place, f"view {part.name} {text}")


def _named(kind: type[View[Any]], source: type[Event], hints: dict[str, Any]) -> Iterator[str]:
    key, at = kind.__key__, kind.__at__
    if key and key not in hints:
        yield f"is keyed by `{key}`, which {source.__name__} does not have. {nearest(key, hints)}"
    if not key and not source.__key__:
        yield f'adds up {source.__name__}, which has no key; write {kind.__name__}(View[...], key="card")'
    if at and at not in hints:
        yield f"takes its time from `{at}`, which {source.__name__} does not have. {nearest(at, hints)}"
    elif at and hints[at] is not datetime:
        moments = [name for name, hint in hints.items() if hint is datetime]
        yield f"takes its time from `{at}` of {source.__name__}, which is no datetime. {nearest(at, moments)}"


def _aggregates(kind: type[View[Any]], source: type[Event], hints: dict[str, Any]) -> Iterator[str]:
    for aggregate in kind.__aggregates__:
        word = f"`{aggregate.name} = {type(aggregate).__name__}(...)`"
        if aggregate.field and aggregate.field not in hints:
            missing = f"which {source.__name__} does not have. {nearest(aggregate.field, hints)}"
            yield f"has {word} over `{aggregate.field}`, {missing}"
        elif aggregate.field and (unfit := _unfit(aggregate, hints[aggregate.field])):
            yield f"has {word} over `{aggregate.field}`, which may be {unfit}; that cannot be added up"
        elif not aggregate.field and _unfit(aggregate, None):
            yield f"has {word} without a field; say what it is of. {nearest('', hints)}"


def _unfit(aggregate: Aggregate[Any], kind: Any) -> str:
    """Return the kind of value that an aggregate fails on: it is tried, so experts' own are judged alike."""
    for leaf in _leaves(kind):
        tried = copy.copy(aggregate)
        tried.kind = leaf
        value = _sample(leaf)
        try:
            if tried.window is not None:
                tried.over((value, value), 0, 2)
            else:
                state = tried.add(tried.add(tried.zero(), value, (0, 1, "")), value, (0, 2, ""))
                tried.result(tried.merge(state, tried.zero()))
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            return spelled(leaf)
    return ""


def _sample(kind: Any) -> Any:
    """Return a value of a kind; a bare object for a kind that has no plain one."""
    if typing.get_origin(kind) is Literal:
        return typing.get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind))
    if kind in (None, types.NoneType):
        return None
    return next((sample for sample in _SAMPLES if type(sample) is kind), object())
