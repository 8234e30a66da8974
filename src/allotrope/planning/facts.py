"""What there is to know of an app before it runs: fields, signatures, what each body mentions.

Read once, so that one unresolved annotation is one finding and does not hide the others.
"""

import functools
import inspect
import typing
from collections.abc import Iterator
from types import FunctionType
from typing import Any, ClassVar

import msgspec

from allotrope.kernel.components import App, Component, Field
from allotrope.kernel.messages import Event, Place
from allotrope.kernel.operations import MARK, Operation
from allotrope.planning.bytecode import Mention, mentions
from allotrope.planning.documents import Finding, finding

UNRESOLVED = (NameError, TypeError, AttributeError)  # what a wrong annotation raises when it is read


class Use(msgspec.Struct, frozen=True):
    """One use of a field by a body; `name` is "" when the field is passed on as a whole."""

    field: str
    name: str
    place: Place


class Body(msgspec.Struct, frozen=True):
    """One operation: its signature, and what its body and the own methods that it reaches mention."""

    operation: Operation
    parameters: dict[str, Any]
    result: Any
    publishes: tuple[type[Event], ...]
    mentioned: tuple[tuple[FunctionType, Mention], ...]
    uses: tuple[Use, ...]
    readable: bool = True  # whether its annotations are

    @property
    def title(self) -> str:
        """Return `Component.operation`."""
        return self.operation.title


class Part(msgspec.Struct, frozen=True):
    """One component or view."""

    component: Component
    fields: dict[str, Field]
    bodies: dict[str, Body]

    @property
    def name(self) -> str:
        """Return the class name."""
        return self.component.name

    @property
    def place(self) -> Place:
        """Return where the class is written."""
        return self.component.place

    @property
    def publishes(self) -> tuple[type[Event], ...]:
        """Return the event types that it may publish."""
        return tuple(
            {e: None for body in self.bodies.values() if body.operation.writes for e in body.publishes}
        )


class Facts(msgspec.Struct, frozen=True):
    """All of an app, and the annotations that could not be read."""

    app: App
    parts: dict[str, Part]
    unread: tuple[Finding, ...]

    def bodies(self) -> Iterator[tuple[Part, Body]]:
        """Yield every operation with its component."""
        for part in self.parts.values():
            for body in part.bodies.values():
                yield part, body

    def events(self) -> dict[str, type[Event]]:
        """Return every event type that is consumed or published, once each, by name."""
        return {kind.__name__: kind for kind in self.event_kinds()}

    def event_kinds(self) -> list[type[Event]]:
        """Return every event type that is consumed or published, in the order of the app."""
        kinds = [
            event for part in self.parts.values() for event in (*part.component.sources(), *part.publishes)
        ]
        return [kind for kind in dict.fromkeys(kinds) if hasattr(kind, "__name__")]

    def consumers(self, event: type[Event]) -> list[Part]:
        """Return the components and views that consume an event type."""
        return [part for part in self.parts.values() if event in part.component.sources()]


def facts_of(app: App) -> Facts:
    """Return what there is to know of an app."""
    unread: list[Finding] = []
    parts = {name: _part(component, unread) for name, component in app.components.items()}
    return Facts(app, parts, tuple(unread))


def _part(component: Component, unread: list[Finding]) -> Part:
    fields: tuple[Field, ...] = ()
    try:
        fields = tuple(field for field in component.fields if typing.get_origin(field.kind) is not ClassVar)
    except UNRESOLVED as error:
        unread.append(
            finding(component.place, f"the fields of {component.name} cannot be read: {reason(error)}")
        )
    part = Part(component, {field.name: field for field in fields}, {})
    renamed = tuple(Use(name, "", component.place) for name in _renamed(part))
    for operation in component.operations:
        part.bodies[operation.name] = _body(part, operation, renamed, unread)
    return part


def _renamed(part: Part) -> list[str]:
    """Return the fields that the constructor keeps under another name, so that no use of them can be told."""
    own = vars(part.component.kind)
    if "__init__" in own and "__dataclass_fields__" not in own:
        kept = {
            m.names[1]
            for f in functions_of(own["__init__"])
            for m in mentions(f)
            if m.own and len(m.names) > 1
        }
        return [name for name in part.fields if name not in kept]
    after = [m for f in functions_of(own.get("__post_init__")) for m in mentions(f) if m.own]
    return [m.names[1] for m in after if len(m.names) == 2 and m.names[1] in part.fields]


def reason(error: Exception) -> str:
    """Return why an annotation cannot be read, with a remedy."""
    if isinstance(error, NameError):
        return f"{error}; import it outside `if TYPE_CHECKING`, or define it in the module"
    return str(error)


def _body(part: Part, operation: Operation, renamed: tuple[Use, ...], unread: list[Finding]) -> Body:
    reached = tuple(_reached(part.component.kind, operation.body))
    uses = (*_uses(reached, part.fields), *renamed)
    try:
        signature = operation.parameters(), operation.result(), operation.publishes()
    except UNRESOLVED as error:
        text = f"the annotations of {operation.title} cannot be read: {reason(error)}"
        unread.append(finding(operation.place, text))
        return Body(operation, {}, None, (), reached, uses, readable=False)
    return Body(operation, *signature, reached, uses)


def place_in(function: FunctionType, mention: Mention) -> Place:
    """Return where a function mentions something."""
    code = function.__code__
    return Place(code.co_filename, mention.line or code.co_firstlineno)


def _uses(reached: tuple[tuple[FunctionType, Mention], ...], fields: dict[str, Field]) -> Iterator[Use]:
    for function, mention in reached:
        place = place_in(function, mention)
        if (
            mention.own and len(mention.names) == 1
        ):  # the instance itself is passed on: it may use all that it has
            yield from (Use(name, "", place) for name in fields)
        elif mention.own and mention.names[1] in fields:
            yield Use(mention.names[1], mention.names[2] if len(mention.names) > 2 else "", place)


def _reached(kind: type, body: Any) -> Iterator[tuple[FunctionType, Mention]]:
    """Yield what a body mentions, and what the methods of its class mention that it reaches."""
    waiting, seen = [(function, True) for function in functions_of(body)], set[Any]()
    while waiting:
        function, bound = waiting.pop()
        if function.__code__ in seen:
            continue
        seen.add(function.__code__)
        names, members = function.__code__.co_names, list[Any]()
        for mention in mentions(function, bound=bound):
            if mention.own and len(mention.names) > 1:
                member = inspect.getattr_static(kind, mention.names[1], None)
                operation = getattr(member, MARK, None)
                if (
                    operation is None or not operation.writes
                ):  # to run a write of its own is a fault of itself
                    members.append(member)
            elif mention.own and hasattr(function, "__wrapped__"):
                continue  # a decorator passes the instance on to what it wraps, which is read itself
            yield function, mention
        if "super" in names:
            members += [
                vars(parent)[name] for parent in kind.__mro__[1:-1] for name in names if name in vars(parent)
            ]
        waiting += [
            (f, not isinstance(member, staticmethod)) for member in members for f in functions_of(member)
        ]


def functions_of(member: Any) -> list[FunctionType]:
    """Return the plain functions behind a method, a property or a decorated function."""
    if isinstance(member, property):
        return [f for part in (member.fget, member.fset) for f in functions_of(part)]
    if isinstance(member, functools.cached_property):
        return functions_of(member.func)
    if isinstance(member, (staticmethod, classmethod)):
        member = member.__func__
    if not isinstance(member, FunctionType):
        return []
    return [member, *functions_of(getattr(member, "__wrapped__", None))]


def owned(part: Part) -> Iterator[FunctionType]:
    """Yield every function that a class defines."""
    for member in vars(part.component.kind).values():
        yield from functions_of(member)


def spelled(kind: Any) -> str:
    """Return a type as an author would write it."""
    if typing.get_origin(kind) is None:
        return "..." if kind is ... else str(getattr(kind, "__name__", kind)).replace("NoneType", "None")
    parts = [repr(p) if isinstance(p, (str, bytes)) else spelled(p) for p in typing.get_args(kind)]
    name = getattr(typing.get_origin(kind), "__name__", "")
    return " | ".join(parts) if name in ("Union", "UnionType") else f"{name}[{', '.join(parts)}]"
