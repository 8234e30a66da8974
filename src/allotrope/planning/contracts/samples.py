"""One sample of each event, as bytes: what a version wrote, kept so that a later one can be seen to read it.

A sample is the same on every machine. Not here: where they are kept (`testing.golden` reads them back).
"""

import enum
import sys
import types
import typing
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.codec import is_array
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Event, Tick, conform, types_of
from allotrope.planning.contracts.contract import row_hash
from allotrope.planning.contracts.shapes import items_of

_DEEP = 3  # below this a value that may be missing is
_PLAIN: dict[Any, Any] = {
    int: 1, float: 0.5, str: "sample", bool: True, bytes: b"sample", Decimal: Decimal("1.25"),
    datetime: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), date: date(2026, 1, 2), time: time(3, 4, 5),
    timedelta: timedelta(seconds=90), UUID: UUID(int=1), None: None, types.NoneType: None,
}  # fmt: skip


class Golden(msgspec.Struct, frozen=True):
    """What one version of an event wrote. `shows` is for people; `body` holds the bytes, as hexadecimal."""

    event: str
    version: int
    shows: str
    body: str

    def text(self) -> str:
        """Return it as JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"


def goldens(app: App) -> dict[str, Golden]:
    """Return a sample of each event of an app, by the name of its file: another shape has another name."""
    kinds = {name: kind for name, kind in app.events().items() if kind is not Tick}
    return {golden_name(kind): golden_of(kind) for _, kind in sorted(kinds.items())}


def golden_name(kind: type[Event]) -> str:
    """Return the name of the file for the present shape of an event."""
    return f"{kind.__name__}.v{kind.__version__}.{row_hash(kind)[:8]}.json"


def golden_of(kind: type[Event]) -> Golden:
    """Return a sample of one event."""
    value = sample(kind)
    return Golden(kind.__name__, kind.__version__, repr(value), codec.encode(value).hex())


def sample(kind: Any, depth: int = 0) -> Any:
    """Return a value of a type, always the same. Refused when its limits are more than can be guessed."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if is_array(origin or kind):
        array = sys.modules["numpy"].zeros(2, items_of(kind) or float)
        array.setflags(write=False)
        return array
    if origin in (Union, types.UnionType):
        missing = types.NoneType in parts and depth >= _DEEP
        return None if missing else sample(next(p for p in parts if p is not types.NoneType), depth + 1)
    if origin is tuple:
        if parts[1:] == (...,):
            return () if depth >= _DEEP else (sample(parts[0], depth + 1),)
        return tuple(sample(part, depth + 1) for part in parts)
    if origin is Literal:
        return parts[0]
    if origin is Annotated:
        return _limited(kind, parts, depth)
    if issubclass(kind, enum.Enum):
        return next(iter(kind))
    fields = msgspec.structs.fields(kind)
    return kind(**{f.name: value for f in fields for value in _given(f, types_of(kind)[f.name], depth)})


def _given(field: msgspec.structs.FieldInfo, kind: Any, depth: int) -> Iterator[Any]:
    """Yield a value for a field, or none where only its default will do."""
    try:
        yield sample(kind, depth + 1)
    except Refused:
        if field.required:
            raise


def _limited(kind: Any, parts: tuple[Any, ...], depth: int) -> Any:
    base = sample(parts[0], depth)
    guesses = [base]
    for meta in (mark for mark in parts[1:] if isinstance(mark, msgspec.Meta)):
        bounds = [meta.ge, meta.le, meta.multiple_of]
        bounds += [None if meta.gt is None else meta.gt + 1, None if meta.lt is None else meta.lt - 1]
        if meta.gt is not None and meta.lt is not None:
            bounds.append((meta.gt + meta.lt) / 2)
        guesses += [type(base)(bound) for bound in bounds if bound is not None]
        length = meta.min_length or meta.max_length or 0
        if isinstance(base, (str, bytes, tuple)) and length:
            guesses += [base[:length], (base * length)[:length]]
        if isinstance(base, datetime):
            guesses.append(base.replace(tzinfo=None))
    for guess in guesses:
        try:
            return conform(guess, kind, "sample")
        except Refused:
            continue
    raise Refused(
        f"no sample of {kind} can be guessed; give the field a default, or keep a golden file by hand"
    )
