"""A contract as Python: the types of an app, and its components with their faces but without their bodies.

Who uses another app writes against this file, alone; a type checker reads it like any other. The runtime puts a
proxy where a component of it is asked for. With `runs` it has the handlers as well: for who runs the other app's
units, and so has to know where events lead. Not here: views, which nobody outside of their app reads.
"""

import keyword
import re
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType

from allotrope.kernel.errors import Refused
from allotrope.planning.contracts.contract import Contract, Face, Handler, Signature
from allotrope.planning.contracts.grammar import Node, check_default, parsed
from allotrope.planning.contracts.shapes import UNKNOWN, Member, Shape

Owners = Mapping[str, str]  # component -> app
_NOBODY: Owners = {}


def stub_of(contract: Contract, owners: Owners = _NOBODY, *, runs: bool = False) -> str:
    """Return the Python text of a contract, formatted and typed; with the handlers for who `runs` its components.

    `owners` names the apps of its components, where it is of several.

    Refused when a name in it cannot be one in Python, and when what is run would need more than a contract tells.
    """
    _check(contract)
    if runs:
        _check_runnable(contract)
    ordered, later = _ordered(contract.shapes)
    body = [line for name in ordered for line in _shape(name, contract, later[name])]
    for name, face in sorted(contract.components.items()):
        if face.operations or (runs and face.handlers):
            app = owners.get(name, contract.app)
            body += _component(app, name, face, face.handlers if runs else {})
    return "\n".join([*_head(contract, body), *body]) + "\n"


def module_of(contract: Contract, owners: Owners = _NOBODY, *, runs: bool = False) -> ModuleType:
    """Return the same as a module, made now: its classes are those of every other call for this contract."""
    name = f"allotrope_contract_{re.sub(r'[^A-Za-z0-9_]', '_', contract.app)}_{contract.hash}{'_runs' * runs}"
    if name not in sys.modules:
        module = ModuleType(name, f"What app {contract.app} offers, by its contract.")
        sys.modules[name] = module  # annotations are looked up there
        try:
            exec(
                compile(stub_of(contract, owners, runs=runs), f"<contract of {contract.app}>", "exec"),
                vars(module),
            )
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


# -- only what is safe to run gets as far as text


def _check(contract: Contract) -> None:
    shapes = contract.shapes
    signatures = [o for face in contract.components.values() for o in face.operations.values()]
    members = [m for shape in shapes.values() for m in shape.fields] + [
        m for o in signatures for m in o.parameters
    ]
    names = [*shapes, *contract.components, *(m.name for m in members)]
    names += [word for o in signatures for title in o.reads for word in title.split(".")]
    names += [o for face in contract.components.values() for o in (*face.operations, *face.handlers)]
    names += [*(fault for o in signatures for fault in o.faults), *(o.key for o in signatures if o.key)]
    names += [shape.key for shape in shapes.values() if shape.key]
    names += [value for shape in shapes.values() for value in shape.values]
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
            raise Refused(
                f"contract of {contract.app!r:.80}: {name!r:.80} cannot be a name in Python; rename it"
            )
    twice = sorted(shapes.keys() & {name for name, face in contract.components.items() if face.operations})
    if twice or not re.fullmatch(r"[\w.-]+", contract.app):
        raise Refused(
            f"contract of {contract.app!r:.80}: {twice or 'the app'} cannot be named so in Python; rename it"
        )
    for member in members:
        check_default(member.default, {*shapes})
    handlers = [h for face in contract.components.values() for h in face.handlers.values()]
    names_taken = {name for handler in handlers for name in handler.takes} - {*contract.events}
    if names_taken:
        raise Refused(f"contract of {contract.app!r:.80}: takes {min(names_taken)!r:.80}, which it lacks")
    for text in [*(m.type for m in members), *(o.result for o in signatures), *(h.result for h in handlers)]:
        if unknown := {*parsed(text).names()} - {*shapes}:
            raise Refused(
                f"contract of {contract.app!r:.80}: `{text:.80}` names {min(unknown)!r}, which it lacks"
            )


def _check_runnable(contract: Contract) -> None:
    """Refuse a view: its events are fed, and waited for, by who knows how they add up."""
    for name, face in contract.components.items():
        if face.view:
            raise Refused(
                f"contract of {contract.app}: {name} is a view, which cannot be run by who knows its contract only; "
                f"run app {contract.app} itself, or keep what {name} adds up in a table"
            )
        if {*face.takes} and not face.handlers:
            raise Refused(
                f"contract of {contract.app}: it is of a format that does not tell how {name} takes events; "
                "write it again"
            )


def _ordered(shapes: dict[str, Shape]) -> tuple[list[str], dict[str, set[str]]]:
    """Return the shapes, each after those that it needs, and for each the names that come later all the same."""
    needs = {name: _needed(shape, shapes) for name, shape in shapes.items()}
    ordered: list[str] = []

    def place(name: str, above: tuple[str, ...]) -> None:
        for need in sorted(needs[name]):
            if need not in ordered and need not in above:
                place(need, (*above, need))
        if name not in ordered:
            ordered.append(name)

    for name in sorted(shapes):
        place(name, (name,))
    return ordered, {name: needs[name] - {*ordered[: ordered.index(name)]} for name in ordered}


def _needed(shape: Shape, shapes: dict[str, Shape]) -> set[str]:
    types = {name for member in shape.fields for name in parsed(member.type).names()}
    called = {
        name for m in shape.fields for name in re.findall(r"\b([A-Za-z_]\w*)\(", m.default) if name in shapes
    }
    return types | called


# -- text


def _head(contract: Contract, body: list[str]) -> Iterator[str]:
    text = "\n".join(body)

    def used(names: Iterator[str] | list[str]) -> list[str]:
        return sorted(name for name in names if re.search(rf"\b{name}\b", text))

    yield f'"""What app `{contract.app}` offers, by its contract {contract.hash}.'
    yield from ("", "Made by `allotrope contract stub`: make it again rather than edit it.", '"""')
    yield ""
    enums = ["import enum"] if "(enum.Enum)" in text else []
    streams = ["from collections.abc import AsyncIterator"] if "AsyncIterator[" in text else []
    dates = used(["date", "datetime", "time", "timedelta"])
    standard = [f"from datetime import {', '.join(dates)}"] if dates else []
    standard += ["from decimal import Decimal"] if used(["Decimal"]) else []
    typing = used(["Annotated", "Any", "Literal"])
    standard += [f"from typing import {', '.join(typing)}"] if typing else []
    standard += ["from uuid import UUID"] if used(["UUID"]) else []
    yield from [*enums, *streams, *standard, *([""] if enums or streams or standard else [])]
    arrays = ["import numpy"] if "numpy." in text else []
    others = [*arrays, *(["from msgspec import Meta"] if used(["Meta"]) else [])]
    others += ["from numpy.typing import NDArray"] if used(["NDArray"]) else []
    yield from [*others, *([""] if others else [])]
    own = used(["Event", "Fault", "Message", "Refused", "Tick", "command", "component", "query"])
    own = sorted([*own, *(word for word in ("every", "on") if f"    @{word}(" in text)])
    yield f"from allotrope import {', '.join(own)}"


def _shape(name: str, contract: Contract, later: set[str]) -> Iterator[str]:
    shape = contract.shapes[name]
    yield from ("", "")
    if shape.values:
        yield f"class {name}(enum.Enum):"
        yield from (f"    {value} = {held!r}" for value, held in shape.values.items())
        return
    kind = "Event" if name in contract.events else "Fault" if name in contract.faults else "Message"
    options = [f"key={shape.key!r}"] if shape.key else []
    options += [f"version={shape.version}"] if shape.version > (name in contract.events) else []
    options += [f"tag={shape.tag!r}"] if shape.tag else []
    options += [f"tag_field={shape.tag_field!r}"] if shape.tag_field not in ("", "type") else []
    flags = {"array_like": shape.array, "forbid_unknown_fields": shape.strict, "omit_defaults": shape.sparse}
    options += [f"{flag}=True" for flag, given in flags.items() if given]
    renamed = {member.name: member.wire for member in shape.fields if member.wire}
    options += [f"rename={renamed!r}"] if renamed else []
    loose = [bool(member.default not in ("", UNKNOWN)) for member in shape.fields]
    options += ["kw_only=True"] if kind != "Fault" and loose != sorted(loose) else []
    yield f"class {name}({', '.join([kind, *options])}):"
    yield from (f"    {_member(member, later)}" for member in shape.fields)
    if not shape.fields:
        yield '    """Has no fields."""'


def _member(member: Member, later: set[str]) -> str:
    node = parsed(member.type)
    kind = annotation(node)
    text = f"{member.name}: {kind!r}" if later & {*node.names()} else f"{member.name}: {kind}"
    return text if member.default in ("", UNKNOWN) else f"{text} = {member.default}"


def annotation(node: Node) -> str:
    """Return a type as Python writes it."""
    if node.word == "array":
        return f"NDArray[numpy.{node.text}]"
    if node.word == "name":
        return "NDArray[Any]" if node.text == "array" else node.text
    parts = [annotation(part) for part in node.parts]
    if node.word == "union":
        return " | ".join(parts)
    if node.word == "many":
        return f"tuple[{parts[0]}, ...]"
    if node.word == "tuple":
        return f"tuple[{', '.join(parts) or '()'}]"
    return f"Annotated[{parts[0]}, {node.text}]" if node.word == "limited" else node.text


def _component(app: str, name: str, face: Face, handlers: Mapping[str, Handler]) -> Iterator[str]:
    yield from ("", "", "@component", f"class {name}:")
    yield f'    """{name} of app `{app}`, which runs elsewhere: here are the faces of its operations."""'
    yield ""
    yield f'    __foreign__ = ("{app}", "{face.hash}")'
    if kept := {
        title: signature.reads for title, signature in sorted(face.operations.items()) if signature.reads
    }:
        yield "    __reads__ = {"
        yield from (f'        "{title}": {reads!r},'.replace("'", '"') for title, reads in kept.items())
        yield "    }"
    for title, signature in sorted(face.operations.items()):
        yield ""
        yield from (f"    {line}" for line in _operation(f"{name}.{title}", signature))
    for title, handler in sorted(handlers.items()):
        yield ""
        yield from (f"    {line}" for line in _handler(f"{name}.{title}", handler))


def _handler(title: str, handler: Handler) -> Iterator[str]:
    if handler.period_s:
        yield f"@every(timedelta(seconds={handler.period_s!r}))"
        taken = "tick: Tick"
    else:
        yield f"@on({', '.join(handler.takes)})"
        taken = f"event: {' | '.join(handler.takes)}"
    yield f"async def {title.rpartition('.')[2]}(self, {taken}) -> {annotation(parsed(handler.result))}:"
    yield f'    raise Refused("{title} runs elsewhere")'


def _operation(title: str, signature: Signature) -> Iterator[str]:
    options = [f"key={signature.key!r}"] if signature.key else []
    options += [f"faults=({', '.join(signature.faults)},)"] if signature.faults else []
    options += ["repeatable=False"] if not signature.repeatable else []
    bare = signature.kind == "query" and not options
    yield f"@{signature.kind}" if bare else f"@{signature.kind}({', '.join(options)})"
    given = [_member(member, set()) for member in signature.parameters]
    result = annotation(parsed(signature.result))
    answer = f"AsyncIterator[{result}]" if signature.streams else result
    yield f"async def {title.rpartition('.')[2]}({', '.join(['self', *given])}) -> {answer}:"
    yield f'    raise Refused("{title} runs elsewhere; put a proxy, or an object of your own, in its place")'
    if signature.streams:
        yield "    yield  # a generator, so that it streams"
