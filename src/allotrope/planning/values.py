"""Whether all that crosses a boundary or is stored is typed and immutable, and each raised fault declared."""

import inspect
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import msgspec

from allotrope.kernel.components import Component, Field
from allotrope.kernel.exactness import mutable
from allotrope.kernel.messages import Fault, Place, fault_body, place_of, types_of
from allotrope.kernel.operations import MARK
from allotrope.planning.documents import Finding, finding
from allotrope.planning.facts import UNRESOLVED, Body, Facts, Part, place_in, reason

_STREAMS = (AsyncIterator, AsyncGenerator, Iterator, Generator)


def value_faults(facts: Facts) -> Iterator[Finding]:
    """Yield a fault for each type that may not cross a boundary, and each fault raised but not declared."""
    stored: dict[Any, None] = {}
    for part in facts.parts.values():
        yield from _fields(part, stored)
        yield from _constructor(part)
    for part, body in facts.bodies():
        if body.readable:
            yield from _signature(body, stored)
        yield from _raised(body)
        yield from _overridden(part, body)
        stored.update(dict.fromkeys(body.operation.faults))
    for part in facts.parts.values():
        stored.update(dict.fromkeys(part.component.sources()))
    yield from _deep(stored)


def _fields(part: Part, stored: dict[Any, None]) -> Iterator[Finding]:
    for field in part.fields.values():
        if field.need == "table":
            rows = typing.get_args(field.kind)
            if not rows:
                yield finding(
                    part.place,
                    f"{part.name}.{field.name} is a Table of nothing; name its rows: Table[Decision]",
                )
            elif fault := mutable(rows[0]):
                yield finding(part.place, f"rows of {part.name}.{field.name}: {fault}")
            stored.update(dict.fromkeys(rows))
        elif field.need == "setting" and (fault := mutable(field.kind)):
            hint = (
                "; a dependency needs a class with @component, a View or a Protocol"
                if _is_class(field)
                else ""
            )
            yield finding(part.place, f"{part.name}.{field.name}: {fault}{hint}")
        elif field.need == "setting":
            stored[field.kind] = None


def _is_class(field: Field) -> bool:
    return isinstance(field.kind, type) and field.kind.__module__ != "builtins"


def _constructor(part: Part) -> Iterator[Finding]:
    """Yield a fault where an `__init__` of its own and the fields do not agree."""
    component = part.component
    if component.is_view or "__dataclass_fields__" in vars(component.kind):
        return
    accepted = inspect.signature(component.kind).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
        return
    name = f"{part.name}.__init__"
    for field in part.fields:
        if field not in accepted:
            yield finding(
                part.place, f"{name} does not take the field `{field}`; add the parameter, or drop __init__"
            )
    for parameter in accepted.values():
        if parameter.name not in part.fields and parameter.default is parameter.empty:
            remedy = "annotate it in the class, or give it a default"
            text = f"{name} takes `{parameter.name}`, which is no field; {remedy}"
            yield finding(part.place, text)


def defaults(component: Component) -> dict[str, Any]:
    """Return what a component's constructor puts into the settings that nobody sets."""
    parameters = inspect.signature(component.kind).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _signature(body: Body, stored: dict[Any, None]) -> Iterator[Finding]:
    place, operation = body.operation.place, body.operation
    for parameter in list(inspect.signature(operation.body).parameters.values())[1:]:
        kind = body.parameters[parameter.name]
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            text = f"{body.title} takes `{stars}{parameter.name}`; name each parameter, or take a tuple"
            yield finding(place, text)
        elif kind is inspect.Parameter.empty:
            yield finding(place, f"parameter `{parameter.name}` of {body.title} has no type; annotate it")
        elif fault := mutable(kind):
            yield finding(place, f"parameter `{parameter.name}` of {body.title}: {fault}")
        else:
            stored[kind] = None
    if operation.batch:
        yield from _batched(body)
    result = piece_of(body)
    if result is None:
        yield finding(place, f"{body.title} does not say what it returns; annotate it, `-> None` for nothing")
    elif fault := mutable(result):
        yield finding(place, f"the result of {body.title}: {fault}")
    else:
        stored[result] = None


def piece_of(body: Body) -> Any:
    """Return the type of an answer, or of one piece when a plain generator streams it."""
    base = typing.get_origin(body.result)
    return (typing.get_args(body.result) or (None,))[0] if base in _STREAMS else body.result


def _batched(body: Body) -> Iterator[Finding]:
    kinds = list(body.parameters.values())
    if len(kinds) != 1 or typing.get_origin(kinds[0]) is not tuple or typing.get_args(kinds[0])[1:] != (...,):
        yield finding(
            body.operation.place, f"{body.title} is batched; it takes one parameter, a `tuple[T, ...]`"
        )
    whole = typing.get_type_hints(body.operation.body, include_extras=True).get("return")
    if typing.get_origin(whole) is not tuple or typing.get_args(whole)[1:] != (...,):
        yield finding(
            body.operation.place, f"{body.title} is batched; it returns a `tuple[R, ...]`, one for each value"
        )


def _overridden(part: Part, body: Body) -> Iterator[Finding]:
    member = inspect.getattr_static(part.component.kind, body.operation.name)
    if not hasattr(member, MARK):
        text = f"{body.title} overrides the {body.operation.kind} of a parent undecorated, so it never runs; "
        yield finding(part.place, f"{text}decorate it as well")


def _raised(body: Body) -> Iterator[Finding]:
    declared = body.operation.faults
    found: dict[str, Place] = {}
    for function, mention in body.mentioned:
        fault = mention.values[-1]
        is_fault = isinstance(fault, type) and issubclass(fault, Fault)
        if mention.called and is_fault and not issubclass(fault, declared):
            found.setdefault(fault.__name__, place_in(function, mention))
    known = ", ".join(fault.__name__ for fault in declared) or "none"
    remedy = (
        "a tick has no caller: record an event instead"
        if body.operation.kind == "every"
        else "add it to `faults=`"
    )
    for name, place in found.items():
        yield finding(
            place, f"{body.title} raises {name}, which it does not declare (declared: {known}); {remedy}"
        )


def _carrier(kind: Any) -> type:
    """Return the class whose annotations are a message's or a fault's own."""
    return fault_body(kind) if issubclass(kind, Fault) else kind


def _deep(kinds: dict[Any, None]) -> Iterator[Finding]:
    """Yield a fault for each mutable field of the messages in `kinds`, however deep."""
    waiting, seen = list(kinds), set[Any]()
    while waiting:
        kind: Any = waiting.pop()
        waiting += [part for part in typing.get_args(kind) if part is not ...]
        if not isinstance(kind, type) or kind in seen or not issubclass(kind, (msgspec.Struct, Fault)):
            continue
        seen.add(kind)
        try:
            hints = types_of(_carrier(kind))
        except UNRESOLVED as error:
            yield finding(place_of(kind), f"the fields of {kind.__name__} cannot be read: {reason(error)}")
            continue
        for name, inner in hints.items():
            if typing.get_origin(inner) is typing.ClassVar:
                continue
            waiting.append(inner)
            if fault := mutable(inner):
                yield finding(place_of(kind), f"{kind.__name__}.{name}: {fault}")
