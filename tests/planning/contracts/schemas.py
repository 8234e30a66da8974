"""Random apps, and what becomes of them in the next version: messages, an event and a query made from data."""

import inspect
from typing import Any, NamedTuple

from hypothesis import strategies as st

from allotrope import App, Event, Message, component, on, query
from allotrope.kernel.messages import MessageType
from allotrope.planning.contracts.samples import sample
from tests.kernel.grammar import LEAVES, Kind

NAMES = ("id", "amount", "note", "at", "kind", "extra")
leaves = st.sampled_from(range(len(LEAVES)))
kinds = st.tuples(st.sampled_from(["plain", "many", "maybe", "inner", "inners"]), leaves)


class Field(NamedTuple):
    """A field: how its type is made, and a seed for its default; None when it has none."""

    name: str
    kind: tuple[str, int]
    default: int | None


class Schema(NamedTuple):
    """All that two versions of an app may differ in."""

    inner: tuple[Field, ...]
    event: tuple[Field, ...]
    parameters: tuple[Field, ...]
    options: tuple[str, ...]


def fields(least: int = 0) -> st.SearchStrategy[tuple[Field, ...]]:
    one = st.builds(Field, st.sampled_from(NAMES[1:]), kinds, st.none() | st.integers(0, 2))
    return st.lists(one, min_size=least, max_size=4, unique_by=lambda field: field.name).map(tuple)


flat = fields(1).map(lambda found: tuple(field._replace(kind=("plain", field.kind[1])) for field in found))
flags = st.sampled_from([*[()] * 6, ("array_like",), ("forbid_unknown_fields",), ("omit_defaults",)])
schemas = st.builds(Schema, flat, fields(), fields(), flags)


@st.composite
def edited(draw: st.DrawFn, schema: Schema) -> Schema:
    """Another version: a few fields come, go, change their type, their default, their name or their place."""
    parts = {name: list(getattr(schema, name)) for name in ("inner", "event", "parameters")}
    for _ in range(draw(st.integers(1, 3))):
        found = parts[draw(st.sampled_from(sorted(parts)))]
        edit = draw(st.sampled_from([*["add"] * 12, "drop", "kind", "default", "rename", "move"]))
        free = [name for name in NAMES[1:] if name not in {field.name for field in found}]
        if edit == "add" and free:
            kind = ("plain", draw(leaves))
            found.append(Field(free[0], kind, draw(st.sampled_from([0, 1, 2, 0, 1, 2, None]))))
        elif found and edit != "add":
            index = draw(st.integers(0, len(found) - 1))
            if edit == "drop":
                del found[index]
            elif edit == "kind":
                found[index] = found[index]._replace(kind=("plain", draw(leaves)))
            elif edit == "default":
                found[index] = found[index]._replace(default=draw(st.none() | st.integers(0, 2)))
            elif edit == "rename" and free:
                found[index] = found[index]._replace(name=free[0])
            elif edit == "move":
                found.append(found.pop(index))
    options = draw(flags) if draw(st.integers(0, 9)) == 0 else schema.options
    return Schema(**{name: tuple(found) for name, found in parts.items()}, options=options)


class Made(NamedTuple):
    """One version of an app."""

    app: App
    event: type[Event]
    values: st.SearchStrategy[Event]
    arguments: st.SearchStrategy[tuple[Any, ...]]


def made(schema: Schema) -> Made:
    """Return the app of a schema."""
    inner, inners = _message("Inner", (Message,), schema.inner, (), None, {})
    typed = {"inner": inner, "values": inners}
    event, values = _message("Happened", (Event,), schema.event, schema.options, "id", typed)
    kept = {field.name: _kind(field.kind, typed) for field in schema.parameters}

    async def asked(self: Any, *arguments: Any) -> Any:
        return None

    empty = inspect.Parameter.empty
    found = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for field in schema.parameters:
        kind, _ = kept[field.name]
        plain = field.kind[0] in ("plain", "many", "inners")
        default = empty if field.default is None or not plain else _default(field)
        word: Any = inspect.Parameter.KEYWORD_ONLY if _late(schema.parameters) else found[0].kind
        found.append(inspect.Parameter(field.name, word, default=default, annotation=kind))
    asked.__signature__ = inspect.Signature(found)
    asked.__annotations__ = {name: kind for name, (kind, _) in kept.items()} | {"return": inner | None}

    async def take(self: Any, event: Event) -> None:
        return None

    take.__annotations__ = {"event": event, "return": None}
    space = {"asked": query(asked), "take": on(event)(take)}
    taker = component(type("Taker", (), space))
    return Made(App("made", taker), event, values, st.tuples(*(held for _, held in kept.values())))


def _late(parameters: tuple[Field, ...]) -> bool:
    """Return whether a parameter without a default follows one that has one: then they are given by name."""
    loose = [
        field.default is not None and field.kind[0] in ("plain", "many", "inners") for field in parameters
    ]
    return loose != sorted(loose)


def _kind(kind: tuple[str, int], typed: dict[str, Any]) -> tuple[Kind, st.SearchStrategy[Any]]:
    word, index = kind
    leaf, held = LEAVES[index]
    if word == "many":
        return tuple[leaf, ...], st.lists(held, max_size=2).map(tuple)
    if word == "maybe" and leaf is not None:
        return leaf | None if isinstance(leaf, type) else leaf, held
    if word == "inner" and typed:
        return typed["inner"], typed["values"]
    if word == "inners" and typed:
        inner = typed["inner"]
        return tuple[inner, ...], st.lists(typed["values"], max_size=2).map(tuple)
    return leaf, held


def _default(field: Field) -> Any:
    """Return one of the defaults that a field of this type may have, the same for the same seed."""
    kind = LEAVES[field.kind[1]][0]
    found = ["one", "two"] if kind is str else [1, 2] if kind is int else [sample(kind)]
    return found[(field.default or 0) % len(found)] if field.kind[0] == "plain" else ()


def _message(
    name: str, bases: tuple[type, ...], given: tuple[Field, ...], options: tuple[str, ...], key: str | None,
    typed: dict[str, Any],
) -> tuple[Any, st.SearchStrategy[Any]]:  # fmt: skip
    kept = {field.name: _kind(field.kind, typed) for field in given}
    if key is not None:
        kept = {key: (str, st.just("k")), **kept}
    space: dict[str, Any] = {"__annotations__": {name: kind for name, (kind, _) in kept.items()}}
    for field in given:
        if field.default is not None and field.kind[0] in ("plain", "many", "inners"):
            space[field.name] = _default(field)
    words = dict.fromkeys(options, True) | ({"key": key} if key is not None else {})
    kind: Any = MessageType(name, bases, space | {"__module__": __name__}, kw_only=True, **words)
    return kind, st.fixed_dictionaries({name: held for name, (_, held) in kept.items()}).map(
        lambda values: kind(**values)
    )
