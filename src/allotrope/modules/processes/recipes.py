"""Recipes: how a process makes an event from those that it has met, by the names of fields or by a function.

Not here: when it makes one (`story`), and who finds the flaws (`rules`).
"""

import inspect
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, Union

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Event, Message, types_of

Met = TypeVar("Met", bound=Message)
Kinds = Sequence[type[Message]]


class Recipe:
    """Makes one kind of event. An event class takes each field from the newest event that has one of its name."""

    def __init__(self, source: Any, what: str) -> None:
        """Read what `source` makes, and from what. Refused when it makes no event; `what` says whose it is."""
        self._source, self.named = source, isinstance(source, type)
        kind = source if self.named else _hints(source, what).get("return") if callable(source) else None
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            remedy = "give an Event class, or a function that says `-> ` one"
            raise Refused(f"{what} is {_name(source)}, which makes no event; {remedy}")
        self.kind: type[Event] = kind
        self._takes = {} if self.named else _taken(source, what)

    def event(self, met: Sequence[Message]) -> Event:
        """Return the event, made from what was met so far, in that order."""
        if self.named:
            return self._by_names(met)
        newest = {type(one): one for one in met}
        made: Event = self._source(**{name: newest.get(kind) for name, (kind, _) in self._takes.items()})
        return made

    def _by_names(self, met: Sequence[Message]) -> Event:
        fields: dict[str, Any] = {}
        for one in met:
            own = set(one.__struct_fields__)
            fields |= {name: getattr(one, name) for name in self.kind.__struct_fields__ if name in own}
        return self.kind(**fields)

    def flaws(self, sure: Kinds, perhaps: Kinds = ()) -> Iterator[str]:
        """Yield why it cannot always be made from events of the kinds `sure`, and of some of `perhaps`."""
        yield from self._unnamed(sure, perhaps) if self.named else self._untaken(sure, perhaps)

    def _unnamed(self, sure: Kinds, perhaps: Kinds) -> Iterator[str]:
        wanted, name = types_of(self.kind), self.kind.__name__
        for field in msgspec.structs.fields(self.kind):
            kind = wanted[field.name]
            having = [source for source in (*sure, *perhaps) if field.name in source.__struct_fields__]
            for source in having:
                if not _fits(types_of(source)[field.name], kind):
                    yield (
                        f"{name}.{field.name} and {source.__name__}.{field.name} are not of one type; "
                        "make them agree, or give a function that makes the event"
                    )
            if field.required and not set(having) & set(sure):
                known = ", ".join(source.__name__ for source in sure)
                yield (
                    f"{name}.{field.name} is in none of the events known by then ({known}); "
                    "add it to one, give it a default, or give a function that makes the event"
                )

    def _untaken(self, sure: Kinds, perhaps: Kinds) -> Iterator[str]:
        for name, (kind, may_lack) in self._takes.items():
            if kind not in (*sure, *perhaps):
                known = ", ".join(source.__name__ for source in (*sure, *perhaps))
                yield f"`{name}` of {_name(self._source)} is {kind.__name__}, which is not known by then ({known})"
            elif kind not in sure and not may_lack:
                yield f"`{name}` of {_name(self._source)} may be missing; annotate it {kind.__name__} | None"


def _name(source: Any) -> str:
    return getattr(source, "__name__", None) or f"a {type(source).__name__}"


def _hints(source: Any, what: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(source)
    except (NameError, TypeError) as error:
        raise Refused(f"{what} is {_name(source)}, whose annotations cannot be read: {error}") from None


def _taken(source: Any, what: str) -> dict[str, tuple[type[Message], bool]]:
    """Return the kind of each parameter, and whether it may be None."""
    hints, taken = _hints(source, what), {}
    for name in inspect.signature(source).parameters:
        parts = _parts(hints.get(name))
        kinds = [part for part in parts if part is not types.NoneType]
        if len(kinds) != 1 or not (isinstance(kinds[0], type) and issubclass(kinds[0], Message)):
            remedy = "annotate it with an event of the process"
            raise Refused(f"{what} is {_name(source)}, and nothing says what its `{name}` is; {remedy}")
        taken[name] = kinds[0], len(parts) > 1
    return taken


def _parts(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)


def _fits(given: Any, wanted: Any) -> bool:
    return (given, wanted) == (int, float) or set(_parts(given)) <= set(_parts(wanted))
