"""Types as text, and as text only: the spelling of an annotation, and what a message or an enum is made of.

The spelling is a Python annotation of a small kind, the same on every Python: `tuple[str, ...]`, `Decimal | None`,
`Annotated[int, Meta(ge=0)]`, `array[float32]`, or the name of a shape. Not here: which types an app has.
"""

import enum
import types
import typing
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import msgspec

from allotrope.kernel.codec import is_array
from allotrope.kernel.errors import Refused
from allotrope.kernel.exactness import LEAVES, leaves
from allotrope.kernel.messages import Fault, Message, fault_body, types_of

UNKNOWN = "..."  # a default that is another value each time
PLAIN = {kind.__name__: kind for kind in LEAVES}  # the types that every Python knows, by name
_TAKEN = {
    "Any", "None", "tuple", "array", "Literal", "Annotated", "Meta", "Event", "Fault", "Message", "Refused", "command",
    "component", "query", "every", "on", "Tick", "enum", "numpy", "NDArray", "AsyncIterator",
}  # fmt: skip
LIMITS = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")


class Member(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field of a message or a parameter of an operation. `default` is an expression; "" when there is none."""

    name: str
    type: str
    default: str = ""
    wire: str = ""  # its name in the bytes, where that is another one

    @property
    def key(self) -> str:
        """Return its name in the bytes."""
        return self.wire or self.name


class Shape(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a message, an event, a fault or an enum is made of."""

    fields: tuple[Member, ...] = ()
    values: dict[str, str | int] = {}  # of an enum
    key: str = ""
    version: int = 0
    upcasts: int = 0  # how many versions before this one are read
    tag: str | int = ""
    tag_field: str = ""
    array: bool = False  # fields travel by their place, not by their name
    strict: bool = False  # an unknown field is refused
    sparse: bool = False  # a field that has its default does not travel

    @property
    def oldest(self) -> int:
        """Return the first version that is read."""
        return self.version - self.upcasts


class Names:
    """The names of the classes of an app: their own, with a number behind where two share one."""

    def __init__(self) -> None:
        """Start with none."""
        self._kinds: dict[Any, None] = {}

    def meet(self, kind: Any) -> None:
        """Take in every class that a type names, however deep."""
        for part in typing.get_args(kind) if typing.get_origin(kind) is not Literal else ():
            self.meet(part)
        if not isinstance(kind, type) or kind in self._kinds:
            return
        if issubclass(kind, (Message, Fault)):
            self._kinds[kind] = None
            for field in carrier(kind).__struct_fields__:
                self.meet(types_of(carrier(kind))[field])
        elif issubclass(kind, enum.Enum):
            self._kinds[kind] = None

    def all(self) -> dict[Any, str]:
        """Return the name of each class. Events and faults go first: their names travel."""
        named: dict[Any, str] = {}
        taken = {*PLAIN, *_TAKEN}
        for kind in sorted(self._kinds, key=lambda kind: (_rank(kind), kind.__module__, kind.__qualname__)):
            number = 1
            while (name := kind.__name__ + (str(number) if number > 1 else "")) in taken:
                number += 1
            named[kind] = name
            taken.add(name)
        return named


def _rank(kind: type) -> int:
    return 0 if getattr(kind, "__key__", "") or issubclass(kind, Fault) else 1


def carrier(kind: Any) -> type[Message]:
    """Return the class whose fields are a message's or a fault's own."""
    return fault_body(kind) if issubclass(kind, Fault) else kind


def spelled(kind: Any, named: dict[Any, str]) -> str:
    """Return an annotation as text. Refused when it is none that may cross a boundary."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind in (None, types.NoneType):
        return "None"
    if kind is Any:
        return "Any"
    if kind in named or kind in LEAVES:
        return named.get(kind) or str(kind.__name__)
    if is_array(origin or kind):
        items = items_of(kind)
        return f"array[{items.__name__}]" if items else "array"
    if origin in (Union, types.UnionType):
        members = sorted({spelled(part, named) for part in parts}, key=lambda text: (text == "None", text))
        return " | ".join(members)
    if origin is tuple:
        inner = ["..." if part is ... else spelled(part, named) for part in parts]
        return f"tuple[{', '.join(inner) or '()'}]"
    if origin is Literal:
        return f"Literal[{', '.join(sorted(map(repr, parts)))}]"
    if origin is Annotated:
        limits = _limits(parts[1:])
        return (
            f"Annotated[{spelled(parts[0], named)}, Meta({limits})]" if limits else spelled(parts[0], named)
        )
    raise Refused(f"{kind} cannot be part of a contract; use a Message, a tuple or a plain value")


def items_of(kind: Any) -> type | None:
    """Return the type of an array's items, where its annotation says it; numpy spells `NDArray` in two ways."""
    found = [part for part in leaves(kind) if isinstance(part, type) and part.__module__ == "numpy"]
    return found[0] if found and found[0].__name__ != "ndarray" else None


def _limits(marks: Iterable[Any]) -> str:
    metas = [mark for mark in marks if isinstance(mark, msgspec.Meta)]
    found = {name: value for meta in metas for name in LIMITS if (value := getattr(meta, name)) is not None}
    return ", ".join(f"{name}={found[name]!r}" for name in LIMITS if name in found)


def literal(value: Any, named: dict[Any, str]) -> str:
    """Return a value as the expression that makes it; `UNKNOWN` when there is none."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        return repr(value)
    if isinstance(value, (Decimal, UUID)):
        return f"{type(value).__name__}({str(value)!r})"
    if isinstance(value, (datetime, date, time)):
        return f"{type(value).__name__}.fromisoformat({value.isoformat()!r})"
    if isinstance(value, timedelta):
        return f"timedelta(microseconds={value // timedelta(microseconds=1)})"
    if isinstance(value, tuple):
        parts = [literal(part, named) for part in value]
        return UNKNOWN if UNKNOWN in parts else f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(value, enum.Enum) and type(value) in named:
        return f"{named[type(value)]}({value.value!r})"
    if isinstance(value, Message) and type(value) in named:
        fields = {field: literal(getattr(value, field), named) for field in value.__struct_fields__}
        inner = ", ".join(f"{field}={text}" for field, text in fields.items())
        return UNKNOWN if UNKNOWN in fields.values() else f"{named[type(value)]}({inner})"
    return UNKNOWN


def shape_of(kind: Any, named: dict[Any, str]) -> Shape:
    """Return what a message, a fault or an enum is made of."""
    if issubclass(kind, enum.Enum):
        return Shape(values={member.name: member.value for member in kind})
    body = carrier(kind)
    config, hints = body.__struct_config__, types_of(body)
    fields = [
        Member(
            field.name,
            spelled(hints[field.name], named),
            _default(field, named),
            field.encode_name if field.encode_name != field.name else "",
        )
        for field in msgspec.structs.fields(body)
    ]
    return Shape(
        fields=tuple(fields),
        key=body.__key__,
        version=body.__version__,
        upcasts=len(body.__upcasts__),
        tag=config.tag if config.tag is not None and body.__version__ < 2 else "",
        tag_field=config.tag_field or "" if body.__version__ < 2 else "",
        array=config.array_like,
        strict=config.forbid_unknown_fields,
        sparse=config.omit_defaults,
    )


def _default(field: msgspec.structs.FieldInfo, named: dict[Any, str]) -> str:
    if field.default is not msgspec.NODEFAULT:
        return literal(field.default, named)
    if field.default_factory is msgspec.NODEFAULT:
        return ""
    one, other = field.default_factory(), field.default_factory()
    return literal(one, named) if one == other else UNKNOWN
