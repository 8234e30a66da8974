"""Which types are immutable, and a compiled test that a value is exactly of its type and finite.

The test is generated code because it runs at every construction of a message: reading annotations there would
cost more than the call it guards. It never repairs; `messages.conform` does.
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

_TUPLE, _MESSAGE, _SORTED = "tuple[..., ...]", "a Message, or a tuple of pairs", "a sorted tuple"
_REMEDY: dict[Any, str] = {
    list: _TUPLE, Sequence: _TUPLE, MutableSequence: _TUPLE, bytearray: "bytes",
    dict: _MESSAGE, Mapping: _MESSAGE, MutableMapping: _MESSAGE, set: _SORTED, MutableSet: _SORTED,
    frozenset: f"{_SORTED} (a set's order is not the same in two processes)",
}  # fmt: skip
_WHOLE = {  # what else must hold for a value of this type: others have no bytes, or come back different
    float: "isfinite({0})",
    Decimal: "{0}.is_finite()",
    int: "-1 << 63 <= {0} < 1 << 64",
    str: "({0}.isascii() or {0}.encode(errors='ignore').decode() == {0})",  # no half of a surrogate pair
    datetime: "{0}.tzinfo in utc and not {0}.fold",  # the codec makes other zones UTC, and drops the fold
    time: "{0}.tzinfo in utc and not {0}.fold",
}
_ALL_WHOLE = {  # the same of all items of a tuple at once
    float: "(isfinite(sum({0})) or all(map(isfinite, {0})))",  # finite ones may add up to infinity
    int: "-1 << 63 <= min({0}, default=0) and max({0}, default=0) < 1 << 64",
    str: _WHOLE[str].format("''.join({0})"),
    **dict.fromkeys((bool, bytes, date, timedelta, UUID), "True"),
}
LEAVES = {*_WHOLE, *_ALL_WHOLE}


def mutable(kind: Any) -> str:
    """Return why values of this annotation could change or differ elsewhere, with a remedy; "" if not."""
    origin = typing.get_origin(kind)
    base = origin or kind
    if base in _REMEDY:
        return f"{_shown(kind)} can change after it is built; use {_REMEDY[base]}"
    if kind is tuple:
        return "tuple does not say what it holds; use tuple[..., ...]"
    if origin in (Union, types.UnionType, tuple, Annotated):
        parts = typing.get_args(kind)[:1] if origin is Annotated else typing.get_args(kind)
        return next((fault for part in parts if part is not ... and (fault := mutable(part))), "")
    if kind in (None, types.NoneType) or kind in LEAVES or origin is Literal or is_array(base):
        return ""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return ""
    if (config := getattr(kind, "__struct_config__", None)) and hasattr(kind, "__key__"):
        return "" if config.frozen else f"{_shown(kind)} is a struct that is not frozen; use a Message"
    return f"{_shown(kind)} is not known to be immutable; use a Message, a tuple or a plain value"


def unfit(value: Any, kind: Any) -> str:
    """Return what the codec would let pass in a value given for `kind`, with a remedy; "" when nothing."""
    if isinstance(value, (tuple, list)):
        return next((flaw for part in value if (flaw := unfit(part, kind))), "")
    if isinstance(value, (set, frozenset)):
        return f"{value!r:.80} has another order in every process; give a sorted tuple"
    if isinstance(value, (float, Decimal)) and not Decimal(value).is_finite():
        return f"{value} is not a finite {type(value).__name__}; drop or replace it before it enters"
    if isinstance(value, msgspec.Struct) and type(value) not in leaves(kind):
        return f"{type(value).__name__} would lose what {_shown(kind)} does not have; name its type"
    return ""


def leaves(kind: Any) -> list[Any]:
    """Return the types that an annotation is composed of."""
    arguments = typing.get_args(kind)
    return [leaf for part in arguments for leaf in leaves(part)] if arguments else [kind]


def _shown(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind)) if typing.get_origin(kind) is None else str(kind)


@functools.cache
def check(parts: tuple[tuple[str, Any], ...]) -> Callable[..., bool]:
    """Return a function of `v`: true when each expression in `parts` is exactly of its type, and whole."""
    names: dict[str, Any] = {"isfinite": isfinite, "utc": (None, UTC)}
    tests = [_test(kind, expression, names) for expression, kind in parts]
    source = f"lambda v: {' and '.join(tests) or 'True'}"
    return typing.cast(Callable[..., bool], eval(source, names))  # the text is made of our own names only


def _test(kind: Any, value: str, names: dict[str, Any]) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind in (None, types.NoneType):
        return f"{value} is None"
    if kind is Any:
        return "True"
    if kind in _WHOLE:
        return f"(type({value}) is {_named(kind, names)} and {_WHOLE[kind].format(value)})"
    if origin in (Union, types.UnionType):
        return f"({' or '.join(_test(part, value, names) for part in parts)})"
    if origin is Annotated and not any(isinstance(mark, msgspec.Meta) for mark in parts[1:]):
        return _test(parts[0], value, names)
    if origin is tuple:
        return f"(type({value}) is tuple and {_items_test(parts, value, names)})"
    if is_array(origin or kind):
        plain = f"not {value}.flags.writeable and {value}.dtype.kind not in 'OV'"
        return f"(type({value}).__name__ == 'ndarray' and {plain})"
    if origin is Literal:
        return f"(type({value}), {value}) in {_named(tuple((type(part), part) for part in parts), names)}"
    if isinstance(kind, type) and (kind in LEAVES or issubclass(kind, (enum.Enum, msgspec.Struct))):
        return f"type({value}) is {_named(kind, names)}"
    return "False"  # constraints: the codec checks them, on the slow path


def _items_test(parts: tuple[Any, ...], value: str, names: dict[str, Any]) -> str:
    if parts[1:] != (...,):
        tests = [_test(part, f"{value}[{index}]", names) for index, part in enumerate(parts)]
        return " and ".join([f"len({value}) == {len(parts)}", *tests])
    if parts[0] in _ALL_WHOLE:
        exact = f"{{*map(type, {value})}} <= {_named({parts[0]}, names)}"
        return f"{exact} and {_ALL_WHOLE[parts[0]].format(value)}"
    item = f"i{len(names)}"
    return f"all({_test(parts[0], item, names)} for {item} in {value})"


def _named(thing: Any, names: dict[str, Any]) -> str:
    name = f"t{len(names)}"
    names[name] = thing
    return name
