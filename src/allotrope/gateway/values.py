"""Values as JSON: what comes in as the types that an operation declares, and what goes out.

Types decide, as everywhere; no class name travels. Not here: which operation is meant (`offers`).
"""

import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from allotrope.kernel.codec import is_array
from allotrope.kernel.errors import Refused, nearest
from allotrope.kernel.exactness import leaves
from allotrope.kernel.operations import Operation
from allotrope.runtime.doors.arrays import array_of, listed

_PLAIN = {str, int, float, bool, Decimal, UUID, datetime, date, time, timedelta, type(None)}
MOST_FIELDS = 100  # of a query string
NOTHING: Mapping[str, str] = {}


def parameters_of(operation: Operation) -> dict[str, Any]:
    """Return the type of each parameter as its caller gives it: of a batched operation, that of one value."""
    kinds = operation.parameters()
    if operation.batch:
        kinds = {name: typing.get_args(kind)[0] for name, kind in kinds.items()}
    return kinds


def shape_of(operation: Operation) -> type[msgspec.Struct]:
    """Return a struct with a field for each parameter, in their order; unknown names do not fit it."""
    given = inspect.signature(operation.body).parameters
    fields: list[Any] = []
    for name, kind in parameters_of(operation).items():
        default = given[name].default
        fields.append((name, kind) if default is inspect.Parameter.empty else (name, kind, default))
    return shape(operation.title.replace(".", "_"), fields)


def shape(name: str, fields: list[Any]) -> type[msgspec.Struct]:
    """Return a struct of keyword fields that takes no unknown ones."""
    return msgspec.defstruct(name, fields, frozen=True, kw_only=True, forbid_unknown_fields=True)


def is_plain(kind: Any) -> bool:
    """Return whether values of a type can stand in a query string: one word each."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return all(is_plain(part) for part in typing.get_args(kind))
    if origin is typing.Annotated:
        return is_plain(typing.get_args(kind)[0])
    if origin is typing.Literal:
        return True
    return kind in _PLAIN or (isinstance(kind, type) and issubclass(kind, enum.Enum))


def reader(kind: Any) -> Callable[[bytes], Any]:
    """Return a function from JSON to a value of `kind`. `1.0` is an integer, as JSON Schema has it."""
    arrays = any(is_array(leaf) or is_array(typing.get_origin(leaf)) for leaf in _deep(kind))
    hook = array_of if arrays else None
    decode = msgspec.json.Decoder(kind, dec_hook=hook).decode

    def read(data: bytes) -> Any:
        try:
            return decode(data)
        except msgspec.ValidationError as error:
            if "got `float`" not in str(error):
                raise
            return msgspec.convert(_whole(msgspec.json.decode(data)), kind, dec_hook=hook)

    return read


def _whole(value: Any) -> Any:
    """Return decoded JSON with an int for each float that is one."""
    if isinstance(value, dict):
        return {name: _whole(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _deep(kind: Any) -> list[Any]:
    found = leaves(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        found = [leaf for field in msgspec.structs.fields(kind) for leaf in (field.type, *leaves(field.type))]
    return found


def from_query(query: bytes, kind: type[msgspec.Struct], more: Mapping[str, str] = NOTHING) -> Any:
    """Return the value of `kind` that a query string and `more` hold, each name once. Refused, or ValidationError."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), errors="strict",
            max_num_fields=MOST_FIELDS,
        )  # fmt: skip
    except (ValueError, UnicodeDecodeError) as error:
        raise Refused(f"the query string cannot be read: {error}") from None
    given = {**dict(pairs), **more}
    if len(given) < len(pairs) + len(more):
        raise Refused("the query string gives a name twice")
    return msgspec.convert(given, kind, strict=False)


def without(query: bytes, name: bytes) -> tuple[bytes, bytes | None]:
    """Return a query string without one of its names, and what that held, None when it is not there."""
    parts = query.split(b"&")
    found = [part for part in parts if part.startswith(name + b"=")]
    if not found:
        return query, None
    return b"&".join(part for part in parts if part not in found), found[0][len(name) + 1 :]


def shown_array(value: Any) -> Any:
    """Return what an array is made of: the hook for what has no lists of numbers."""
    if is_array(type(value)):
        return {"dtype": value.dtype.str, "shape": value.shape, "data": value.tobytes()}
    raise NotImplementedError(f"{type(value).__name__} cannot be shown")


to_json = msgspec.json.Encoder(enc_hook=listed).encode


def unfit(error: Exception, place: str, known: tuple[str, ...]) -> Refused:
    """Return what to tell whose values do not fit, with the nearest name when one is not known."""
    text = str(error)
    name = text.partition("unknown field `")[2].partition("`")[0] if "unknown field" in text else ""
    near = f" {nearest(name, known)}" if name and name not in known and text.endswith("`") else ""
    return Refused(f"{place}: {text}{near}")
