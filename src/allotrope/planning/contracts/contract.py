"""The contract of an app: what its components offer, publish, take and keep, with all types, as plain values.

Two contracts with one hash are equal. Not here: comparing those that are not (`changes`), and reading files.
"""

import hashlib
import inspect
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Literal, cast, get_args

import msgspec

from allotrope.kernel.components import App, Component
from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Event, Fault, Tick
from allotrope.kernel.operations import Operation
from allotrope.kernel.views import View
from allotrope.planning.contracts.shapes import Member, Names, Shape, literal, shape_of, spelled
from allotrope.planning.graph import kept_reads

FORMAT, READ = 2, (1, 2)  # of format 1 a contract says nothing of handlers
FOREIGN = "__foreign__"  # the attribute of a component that stands for one of another app: its name and hash
_NAME = re.compile(r"[A-Za-z_]\w*")


class Signature(msgspec.Struct, frozen=True, omit_defaults=True):
    """A query or a command. Parameters travel by their place."""

    kind: Literal["query", "command"]
    parameters: tuple[Member, ...] = ()
    result: str = "None"
    faults: tuple[str, ...] = ()
    key: str = ""
    repeatable: bool = True
    streams: bool = False
    reads: tuple[
        str, ...
    ] = ()  # the tables and views that its answer depends on, its own and those it reaches


class Handler(msgspec.Struct, frozen=True, omit_defaults=True):
    """What takes events, or the ticks of a period, and publishes what its `result` holds."""

    takes: tuple[str, ...] = ()
    result: str = "None"
    period_s: float = 0.0


class Face(msgspec.Struct, frozen=True, omit_defaults=True):
    """A component as others see it; of a view, its figures."""

    hash: str = ""
    operations: dict[str, Signature] = {}
    handlers: dict[str, Handler] = {}
    publishes: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    tables: dict[str, str] = {}
    figures: dict[str, str] = {}
    view: str = ""  # how it tells keys and times


class Contract(msgspec.Struct, frozen=True, omit_defaults=True):
    """All of an app that somebody else may rely on."""

    allotrope: int  # the format of this text
    app: str
    hash: str = ""
    components: dict[str, Face] = {}
    events: dict[str, Shape] = {}
    faults: dict[str, Shape] = {}
    types: dict[str, Shape] = {}

    @property
    def shapes(self) -> dict[str, Shape]:
        """Return events, faults and types by name."""
        return {**self.types, **self.faults, **self.events}

    def text(self) -> str:
        """Return it as JSON, one thing a line, sorted; fields and parameters in their order."""
        whole = msgspec.to_builtins(self, order="deterministic")
        return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"


def contract_of(app: App, *, whole: bool = False) -> Contract:
    """Return the contract of an app that can be planned; `whole` with what it knows by contracts only.

    Refused when a type cannot be told to others.
    """
    names, events = Names(), {name: kind for name, kind in app.events().items() if kind is not Tick}
    own = [part for part in app.components.values() if whole or not hasattr(part.kind, FOREIGN)]
    for kind in events.values():
        names.meet(kind)
    for component in own:
        for met in _types(component):
            names.meet(met)
    named = names.all()
    shapes = {kind: shape_of(kind, named) for kind in named}
    reads = kept_reads(app)

    def chosen(wanted: Any) -> dict[str, Shape]:
        return {named[kind]: shape for kind, shape in shapes.items() if wanted(kind)}

    plain = Contract(
        FORMAT,
        app.name,
        components={component.name: _face(component, named, reads) for component in own},
        events=chosen(lambda kind: kind in events.values()),
        faults=chosen(lambda kind: issubclass(kind, Fault)),
        types=chosen(lambda kind: kind not in events.values() and not issubclass(kind, Fault)),
    )
    return sealed(plain)


def part_of(contract: Contract, names: Iterable[str]) -> Contract:
    """Return what a contract says of some of its components, and of the types that they name."""
    faces = {name: contract.components[name] for name in names if name in contract.components}
    reached: dict[str, Shape] = {}
    for face in faces.values():
        reached |= _reached(contract, face)

    def kept(shapes: dict[str, Shape]) -> dict[str, Shape]:
        return {name: shape for name, shape in shapes.items() if name in reached}

    return sealed(
        msgspec.structs.replace(
            contract, components=faces, events=kept(contract.events), faults=kept(contract.faults),
            types=kept(contract.types),
        )
    )  # fmt: skip


def sealed(contract: Contract) -> Contract:
    """Return a contract with the hashes that belong to it."""
    faces = {}
    for name, given in contract.components.items():
        face = msgspec.structs.replace(given, hash="")
        faces[name] = msgspec.structs.replace(face, hash=_hash((face, _reached(contract, face))))
    whole = msgspec.structs.replace(contract, components=faces, hash="")
    return msgspec.structs.replace(whole, hash=_hash(whole))


def read_contract(text: str | bytes, where: str) -> Contract:
    """Return a contract from JSON. Refused, naming `where`, when it is none, of another format, or edited."""
    try:
        contract = msgspec.json.decode(text, type=Contract)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(
            f"{where} is no contract: {error}; `allotrope contract APP -o {where}` writes one"
        ) from None
    if contract.allotrope not in READ:
        raise Refused(
            f"{where}: contract format {contract.allotrope}, not {FORMAT}; use the allotrope that wrote it"
        )
    if sealed(contract) != contract:
        raise Refused(f"{where}: its content does not have its hashes, so it was edited; write it again")
    return contract


def row_hash(kind: Any) -> str:
    """Return a hash of a type and all that it names: what a table's rows look like."""
    names = Names()
    names.meet(kind)
    named = names.all()
    return _hash((spelled(kind, named), {name: shape_of(met, named) for met, name in named.items()}))


def _hash(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:32]


def _types(component: Component) -> list[Any]:
    tables = [part for field in component.needs("table") for part in get_args(field.kind)]
    return [*tables, *(part for operation in component.operations for part in _parts(operation))]


def _parts(operation: Operation) -> list[Any]:
    if operation.kind not in ("query", "command"):
        return []
    return [*(kind for _, kind, _ in _parameters(operation)), operation.result(), *operation.faults]


def _parameters(operation: Operation) -> list[tuple[str, Any, Any]]:
    """Return name, type and default of each parameter as a caller gives it: one value where it is batched."""
    found = list(inspect.signature(operation.body).parameters.values())[1:]
    kinds = operation.parameters()
    if operation.batch:
        return [(found[0].name, get_args(kinds[found[0].name])[0], inspect.Parameter.empty)]
    return [(parameter.name, kinds[parameter.name], parameter.default) for parameter in found]


def _face(component: Component, named: dict[Any, str], reads: dict[str, tuple[str, ...]]) -> Face:
    signatures = {
        o.name: _signature(o, named, reads[o.title])
        for o in component.operations
        if o.kind in ("query", "command")
    }
    tables = {field.name: spelled(get_args(field.kind)[0], named) for field in component.needs("table")}
    face = Face(
        operations=signatures,
        handlers={o.name: _handler(o, named) for o in component.operations if o.sources},
        publishes=_told(component.publishes(), named),
        takes=_told(component.sources(), named),
        tables=tables,
    )
    return _view(face, component.kind) if issubclass(component.kind, View) else face


def _told(events: tuple[type[Event], ...], named: dict[Any, str]) -> tuple[str, ...]:
    return tuple(sorted({named[kind] for kind in events if kind is not Tick}))


def _signature(operation: Operation, named: dict[Any, str], reads: tuple[str, ...]) -> Signature:
    empty = inspect.Parameter.empty
    parameters = [
        Member(name, spelled(kind, named), "" if default is empty else literal(default, named))
        for name, kind, default in _parameters(operation)
    ]
    return Signature(
        kind=cast(Any, operation.kind),
        parameters=tuple(parameters),
        result=spelled(operation.result(), named),
        faults=tuple(sorted(named[fault] for fault in operation.faults)),
        key=operation.key,
        repeatable=operation.repeatable,
        streams=operation.streams,
        reads=reads if operation.kind == "query" else (),
    )


def _handler(operation: Operation, named: dict[Any, str]) -> Handler:
    period = operation.period.total_seconds() if operation.period else 0.0
    return Handler(_told(operation.sources, named), spelled(operation.result(), named), period)


def _view(face: Face, kind: type[View[Any]]) -> Face:
    figures = {}
    for a in kind.__aggregates__:
        span = f" over {_length(a.window)}" if a.window else ""
        figures[a.name] = f"{type(a).__name__}({a.field}){span}" + (
            f", {_length(a.delay)} late" if a.delay else ""
        )
    view = f"key {kind.__key__ or 'of the event'}, at {kind.__at__ or 'origin'}, reach {kind.__reach__} us"
    return msgspec.structs.replace(face, figures=figures, view=view)


def _length(span: timedelta) -> str:
    return f"{span / timedelta(seconds=1):.15g} s"


def _reached(contract: Contract, face: Face) -> dict[str, Shape]:
    """Return every shape that a component's face names, directly or through another one."""
    texts = [o.result for o in face.operations.values()] + [
        *face.tables.values(),
        *face.publishes,
        *face.takes,
    ]
    texts += [member.type for signature in face.operations.values() for member in signature.parameters]
    texts += [fault for signature in face.operations.values() for fault in signature.faults]
    shapes, found = contract.shapes, dict[str, Shape]()
    while texts:
        for name in _NAME.findall(texts.pop()):
            if name in shapes and name not in found:
                found[name] = shapes[name]
                texts += [member.type for member in shapes[name].fields]
    return found
