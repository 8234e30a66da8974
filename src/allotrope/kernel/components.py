"""Components: ordinary classes whose typed fields say what they need. Built by hand they need no runtime."""

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from random import Random
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

import msgspec

from allotrope.kernel import operations
from allotrope.kernel.calls import current
from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Event, Place, place_of, types_of
from allotrope.kernel.operations import Operation
from allotrope.kernel.tables import Table
from allotrope.kernel.views import View

C = TypeVar("C", bound=type)
MARK = "__component__"  # the attribute of a class that says it is one, and holds its line
Need = Literal["setting", "table", "view", "component", "clock", "chance"]


class Latest(msgspec.Struct, frozen=True):
    """Marks a view that is not waited for: `Annotated[Spending, Latest(60)]`. It is outside equality."""

    staleness_s: float


class Clock:
    """The time as a dependency: in an operation, when its input was accepted; the same in every replay."""

    def now(self) -> datetime:
        """Return the time, in UTC."""
        call = current.get()
        return datetime.now(UTC) if call is None else datetime.fromtimestamp(call.at / 1_000_000, UTC)


class Chance:
    """Randomness as a dependency: seeded by the input being served, so the same in every replay."""

    def source(self, label: str = "") -> Random:
        """Return a generator that belongs to this operation and `label`."""
        call = current.get()
        who = f"{call.seed}/{call.origin}{call.path}/{call.component}/" if call else ""
        return Random(who + label)


class Field(msgspec.Struct, frozen=True):
    """One typed field of a component: its name, the type that it names, and what the runtime puts there."""

    name: str
    kind: Any
    need: Need
    latest: Latest | None = None


class Component(msgspec.Struct, frozen=True):
    """What an app knows of one component class or view class."""

    kind: type
    place: Place
    operations: tuple[Operation, ...] = ()

    @property
    def name(self) -> str:
        """Return the class name, unique in an app."""
        return self.kind.__name__

    @property
    def is_view(self) -> bool:
        """Return whether it is a view, which has aggregates instead of operations."""
        return issubclass(self.kind, View)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Return what it needs, in the order of declaration."""
        hints = {} if self.is_view else types_of(self.kind)
        return tuple(_field(name, kind) for name, kind in hints.items() if not name.startswith("_"))

    def needs(self, need: Need) -> tuple[Field, ...]:
        """Return the fields of one need."""
        return tuple(field for field in self.fields if field.need == need)

    def sources(self) -> tuple[type[Event], ...]:
        """Return the event types that it consumes."""
        if issubclass(self.kind, View):
            return self.kind.sources()
        return tuple(dict.fromkeys(source for operation in self.operations for source in operation.sources))

    def publishes(self) -> tuple[type[Event], ...]:
        """Return the event types that its operations may publish."""
        return tuple(dict.fromkeys(event for o in self.operations if o.writes for event in o.publishes()))


def _field(name: str, kind: Any) -> Field:
    latest = None
    if typing.get_origin(kind) is Annotated:
        kind, *marks = typing.get_args(kind)
        latest = next((mark for mark in marks if isinstance(mark, Latest)), None)
    base = typing.get_origin(kind) or kind
    given: dict[Any, Need] = {Table: "table", Clock: "clock", Chance: "chance"}
    if base in given:
        return Field(name, kind, given[base])
    if isinstance(base, type) and issubclass(base, View):
        return Field(name, kind, "view", latest)
    if hasattr(base, MARK) or getattr(base, "_is_protocol", False):
        return Field(name, kind, "component", latest)
    return Field(name, kind, "setting")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def component(kind: C) -> C:
    """Make a class a component. Without an `__init__` of its own it becomes a frozen dataclass."""
    line = sys._getframe(1).f_lineno
    if "__init__" not in vars(kind):
        kind = typing.cast(C, dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(kind))
    setattr(kind, MARK, line)
    return kind


def described(kind: type) -> Component:
    """Return what there is to know of a component or view class. Refused when it is neither."""
    if not (hasattr(kind, MARK) or issubclass(kind, View)):
        raise Refused(f"{kind.__name__} ({place_of(kind)}) is not a component; decorate it with @component")
    found: dict[str, Operation] = {}
    for parent in reversed(kind.__mro__):
        for name, member in vars(parent).items():
            if operation := getattr(member, operations.MARK, None):
                found[name] = msgspec.structs.replace(operation, component=kind.__name__)
    return Component(kind, place_of(kind), tuple(found.values()))


class App:
    """A named set of components. `sample`, given a seed, yields inputs for `allotrope check`."""

    def __init__(self, name: str, *kinds: type, sample: Callable[[int], Iterable[Any]] | None = None) -> None:
        """Describe each class; Refused when two share a name or one is no component."""
        self.name, self.sample = name, sample
        self.components: dict[str, Component] = {}
        for kind in kinds:
            if kind.__name__ in self.components:
                raise Refused(f"app {name}: two components are called {kind.__name__}; rename one")
            self.components[kind.__name__] = described(kind)

    def provider(self, kind: Any) -> Component | None:
        """Return the component that a field of type `kind` stands for; of a Protocol, who has its face."""
        base = typing.get_origin(kind) or kind
        if not getattr(base, "_is_protocol", False):
            return next((found for found in self.components.values() if found.kind is base), None)
        face = {name for name, member in vars(base).items() if name[0] != "_" and inspect.isfunction(member)}
        able = [c for c in self.components.values() if face <= {operation.name for operation in c.operations}]
        return able[0] if len(able) == 1 else None

    def events(self) -> dict[str, type[Event]]:
        """Return every event type that a component consumes or publishes, by name."""
        kinds = [e for c in self.components.values() for e in (*c.sources(), *c.publishes())]
        return {kind.__name__: kind for kind in kinds}

    def operation(self, title: str) -> Operation:
        """Return the operation `Component.name`. Refused, with what there is, when it does not exist."""
        known = {operation.title: operation for c in self.components.values() for operation in c.operations}
        if title not in known:
            raise Refused(f"app {self.name} has no operation `{title}`; it has {', '.join(known)}")
        return known[title]

    def consumers(self, event: type[Event]) -> tuple[Component, ...]:
        """Return the components that consume an event type, in the order of the app."""
        return tuple(c for c in self.components.values() if event in c.sources())
