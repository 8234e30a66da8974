"""Which types are immutable, and a compiled test that a value is exactly of its type and finite.

The test is generated code because it runs at every construction of a message: reading annotations there would cost
more than the call it guards. It never repairs; `messages.conform` does.
"""

import enum
import functools
import types
import typing
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, MutableSet, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import msgspec

from allotrope.kernel.codec import is_array

LEAVES = (str, int, float, bool, bytes, Decimal, datetime, date, time, timedelta, UUID)
_REMEDY: dict[Any, str] = {
    list: "tuple[..., ...]", Sequence: "tuple[..., ...]", MutableSequence: "tuple[..., ...]", bytearray: "bytes",
    dict: "a Message, or a tuple of pairs", Mapping: "a Message, or a tuple of pairs",
    MutableMapping: "a Message, or a tuple of pairs",
    set: "a sorted tuple", frozenset: "a sorted tuple (a set's order is not the same in two processes)",
    MutableSet: "a sorted tuple",
}  # fmt: skip


def mutable(kind: Any) -> str:
    """Return why values of this annotation could change or differ between processes, with a remedy; "" if not."""
    origin = typing.get_origin(kind)
    base = origin or kind
    if base in _REMEDY:
        return f"{_shown(kind)} can change after it is built; use {_REMEDY[base]}"
    if origin in (Union, types.UnionType, tuple, Annotated):
        parts = typing.get_args(kind)[:1] if origin is Annotated else typing.get_args(kind)
        return next((fault for part in parts if part is not ... and (fault := mutable(part))), "")
    if kind in (None, types.NoneType, tuple) or kind in LEAVES or origin is Literal or is_array(base):
        return ""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return ""
    config = getattr(kind, "__struct_config__", None)
    if config is not None:
        return "" if config.frozen else f"{_shown(kind)} is a struct that is not frozen; use a Message"
    return f"{_shown(kind)} is not known to be immutable; use a Message, a tuple or a plain value"


def _shown(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind)) if typing.get_origin(kind) is None else str(kind)


@functools.cache
def check(parts: tuple[tuple[str, Any], ...]) -> Callable[..., bool]:
    """Return a function of `v` that is true when each expression in `parts` is exactly of its type and finite."""
    names: dict[str, Any] = {"isfinite": isfinite, "datetime": datetime}
    tests = [_test(kind, expression, names) for expression, kind in parts]
    source = f"lambda v: {' and '.join(tests) or 'True'}"
    return typing.cast(Callable[..., bool], eval(source, names))  # the text is made of our own names only


def _test(kind: Any, value: str, names: dict[str, Any]) -> str:
    origin = typing.get_origin(kind)
    if kind in (None, types.NoneType):
        return f"{value} is None"
    if kind is Any:
        return "True"
    if kind is float:
        return f"(type({value}) is float and isfinite({value}))"
    if kind is Decimal:
        return f"(type({value}) is {_named(kind, names)} and {value}.is_finite())"
    if origin in (Union, types.UnionType):
        return f"({' or '.join(_test(part, value, names) for part in typing.get_args(kind))})"
    if origin is tuple:
        return _tuple_test(typing.get_args(kind), value, names)
    if is_array(origin or kind):
        return f"(type({value}).__name__ == 'ndarray' and not {value}.flags.writeable)"
    if kind is datetime:  # another zone is made UTC, as the codec would: else its hour depended on the preset
        return f"(type({value}) is datetime and {value}.tzinfo in {_named((None, UTC), names)})"
    if origin is Literal:
        return f"(type({value}), {value}) in {_named(tuple((type(one), one) for one in typing.get_args(kind)), names)}"
    if isinstance(kind, type) and (kind in LEAVES or issubclass(kind, (enum.Enum, msgspec.Struct, tuple))):
        return f"type({value}) is {_named(kind, names)}"
    return "False"  # constraints: the codec checks them, on the slow path


def _tuple_test(parts: tuple[Any, ...], value: str, names: dict[str, Any]) -> str:
    if len(parts) == 2 and parts[1] is ...:
        if parts[0] in LEAVES and parts[0] not in (Decimal, datetime):
            finite = f" and isfinite(sum({value}))" if parts[0] is float else ""
            return f"(type({value}) is tuple and {{*map(type, {value})}} <= {_named({parts[0]}, names)}{finite})"
        item = f"i{len(names)}"
        return f"(type({value}) is tuple and all({_test(parts[0], item, names)} for {item} in {value}))"
    tests = [f"len({value}) == {len(parts)}"]
    tests += [_test(part, f"{value}[{index}]", names) for index, part in enumerate(parts)]
    return f"(type({value}) is tuple and {' and '.join(tests)})"


def _named(thing: Any, names: dict[str, Any]) -> str:
    name = f"t{len(names)}"
    names[name] = thing
    return name
