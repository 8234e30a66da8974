"""Types as protocol buffers, and values into them and back.

A struct is a message whose fields are numbered in their order, so a field that is added at the end is compatible. What
protocol buffers have no form for (a union of plain types, a tuple in a tuple) travels as JSON in a string, and its
comment says so. Values pass through plain builtins, which msgspec checks. Source: the proto3 language guide.
"""

from collections.abc import Callable
from typing import Any, cast

import msgspec
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from msgspec import inspect as mi

from allotrope.kernel.codec import is_array

_F = FieldDescriptorProto
_TEXTS = (
    mi.StrType,
    mi.DateTimeType,
    mi.DateType,
    mi.TimeType,
    mi.TimeDeltaType,
    mi.UUIDType,
    mi.DecimalType,
)
_SCALARS: dict[type, int] = {
    **dict.fromkeys(_TEXTS, _F.TYPE_STRING),
    mi.IntType: _F.TYPE_INT64,
    mi.FloatType: _F.TYPE_DOUBLE,
    mi.BoolType: _F.TYPE_BOOL,
    mi.BytesType: _F.TYPE_BYTES,
}
ARRAY = "Array"  # the message of numpy's arrays: dtype, shape, bytes


class Slot(msgspec.Struct, frozen=True):
    """One field of a message: how a plain value gets into it, and out."""

    name: str
    put: Callable[[Any, Any], None]
    get: Callable[[Any], Any]  # UNSET when it is not there


class Forms:
    """The messages of one file."""

    def __init__(self, package: str) -> None:
        """Begin a file without messages."""
        self.file = FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
        self.notes: dict[tuple[str, str], str] = {}  # (message, field) -> what its type does not say
        self._slots: dict[str, list[Slot]] = {}
        self._named: dict[Any, str] = {}
        self._tuples: set[str] = set()

    def message(self, name: str, fields: tuple[mi.Field, ...]) -> str:
        """Add a message with these fields and return its name."""
        made = self.file.message_type.add(name=name)
        self._slots[name] = slots = []
        for field in fields:
            slots.append(self._slot(made, field))
        return name

    def put(self, name: str, message: Any, value: Any) -> None:
        """Fill a message from plain values."""
        for slot in self._slots[name]:
            given = value.get(slot.name)
            if given is not None:
                slot.put(message, given)

    def get(self, name: str, message: Any) -> dict[str, Any]:
        """Return the plain values that a message holds."""
        found = {slot.name: slot.get(message) for slot in self._slots[name]}
        return {field: value for field, value in found.items() if value is not msgspec.UNSET}

    # -- types

    def _slot(self, made: DescriptorProto, field: mi.Field) -> Slot:
        name, info, nullable = field.encode_name, field.type, False
        while isinstance(info, mi.Metadata):
            info = info.type
        if isinstance(info, mi.UnionType) and info.includes_none:
            rest = tuple(part for part in info.types if not isinstance(part, mi.NoneType))
            nullable, info = True, rest[0] if len(rest) == 1 else mi.UnionType(rest)
        if nullable and not field.required and field.default is not None:
            return self._json(made, field, name)  # that None was given could not be told from nothing given
        missing = None if nullable and field.required else msgspec.UNSET
        optional = nullable or not field.required
        if isinstance(info, mi.VarTupleType) and not nullable and (field.required or not field.default):
            return self._repeated(made, field, info)
        if (kind := _scalar(info)) is not None:
            return _plain(_add(made, name, kind, optional=optional), optional=optional, missing=missing)
        if (inner := self._inner(made.name, name, info)) is not None:
            return self._nested(_add(made, name, _F.TYPE_MESSAGE, inner), inner, missing)
        return self._json(made, field, name)

    def _inner(self, parent: str, name: str, info: mi.Type) -> str | None:
        """Return the name of the message that holds a value of a type, None when there is no such message."""
        if isinstance(info, mi.StructType):
            if info.cls not in self._named:
                self._named[info.cls] = free = self.free(info.cls.__name__)
                self.message(free, info.fields)
            return self._named[info.cls]
        if isinstance(info, mi.TupleType):
            parts = [mi.Field(f"item{n}", f"item{n}", part) for n, part in enumerate(info.item_types, 1)]
            title = self.free(f"{parent}_{name}")
            self._tuples.add(title)
            return self.message(title, tuple(parts))
        if isinstance(info, mi.CustomType) and is_array(getattr(info.cls, "__origin__", info.cls)):
            if ARRAY not in self._named:
                self._named[ARRAY] = self.free(ARRAY)
                shape = mi.VarTupleType(mi.IntType())
                kinds = {"dtype": mi.StrType(), "shape": shape, "data": mi.BytesType()}
                self.message(
                    self._named[ARRAY], tuple(mi.Field(part, part, kind) for part, kind in kinds.items())
                )
            return self._named[ARRAY]
        return None

    def free(self, name: str) -> str:
        """Return a message name that nobody has, as near to `name` as can be."""
        found, number = name, 2
        while found in self._slots or found in self._named.values():
            found, number = f"{name}_{number}", number + 1
        return found

    def _nested(self, name: str, inner: str, missing: Any) -> Slot:
        tupled = inner in self._tuples

        def put(message: Any, value: Any) -> None:
            place = getattr(message, name)
            place.SetInParent()
            given = {f"item{n}": part for n, part in enumerate(value, 1)} if tupled else value
            self.put(inner, place, given)

        def get(message: Any) -> Any:
            if not message.HasField(name):
                return missing
            found = self.get(inner, getattr(message, name))
            return list(found.values()) if tupled else found

        return Slot(name, put, get)

    def _repeated(self, made: DescriptorProto, field: mi.Field, info: Any) -> Slot:
        name, item = field.encode_name, info.item_type
        while isinstance(item, mi.Metadata):
            item = item.type
        if (kind := _scalar(item)) is not None:
            _add(made, name, kind, repeated=True)
            return Slot(name, lambda m, v: getattr(m, name).extend(v), lambda m: list(getattr(m, name)))
        inner = self._inner(made.name, name, item) if isinstance(item, mi.StructType) else None
        if inner is None:
            return self._json(made, field, name)
        _add(made, name, _F.TYPE_MESSAGE, inner, repeated=True)

        def put(message: Any, value: Any) -> None:
            for part in value:
                self.put(inner, getattr(message, name).add(), part)

        return Slot(name, put, lambda m: [self.get(inner, part) for part in getattr(m, name)])

    def _json(self, made: DescriptorProto, field: mi.Field, name: str) -> Slot:
        """Return a slot for what has no form of its own: JSON in a string."""
        _add(made, name, _F.TYPE_STRING, optional=True)
        self.notes[made.name, name] = "JSON"

        def get(message: Any) -> Any:
            return msgspec.json.decode(getattr(message, name)) if message.HasField(name) else msgspec.UNSET

        return Slot(name, lambda m, v: setattr(m, name, msgspec.json.encode(v).decode()), get)


def _scalar(info: mi.Type) -> int | None:
    if isinstance(info, mi.EnumType):
        return _of_values([member.value for member in info.cls])
    if isinstance(info, mi.LiteralType):
        return _of_values(list(info.values))
    return _SCALARS.get(type(info))


def _of_values(values: list[Any]) -> int | None:
    kinds = {type(value) for value in values}
    return _F.TYPE_STRING if kinds == {str} else _F.TYPE_INT64 if kinds == {int} else None


def _plain(name: str, *, optional: bool, missing: Any) -> Slot:
    def get(message: Any) -> Any:
        return getattr(message, name) if not optional or message.HasField(name) else missing

    return Slot(name, lambda message, value: setattr(message, name, value), get)


def _add(
    made: DescriptorProto,
    name: str,
    kind: int,
    inner: str = "",
    *,
    repeated: bool = False,
    optional: bool = False,
) -> str:
    field = made.field.add(
        name=name,
        number=len(made.field) + 1,
        type=cast(Any, kind),
        label=_F.LABEL_REPEATED if repeated else _F.LABEL_OPTIONAL,
    )
    if inner:
        field.type_name = inner
    if optional:  # as the compiler does it: a oneof of its own
        field.proto3_optional = True
        field.oneof_index = len(made.oneof_decl)
        made.oneof_decl.add(name=f"_{name}")
    return name
