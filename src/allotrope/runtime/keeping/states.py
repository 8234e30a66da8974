"""States: what a view has added up for a key, as bytes and back, bit for bit; and which keys have changed.

A value that is none of those that bytes can tell exactly makes a view one that is not kept: it is rebuilt from the log.
"""

import hashlib
import inspect
import typing
from array import array
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from itertools import accumulate
from typing import Any
from uuid import UUID

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import types_of
from allotrope.kernel.views import Running, Series, View
from allotrope.storage.checkpoints import Row

FORMAT = 1  # of the states, and of what the built-in aggregates keep
PAGE, PAGE_BYTES = 500, 1 << 20  # of rows that are encoded in one go
_TUPLE, _LIST, _DICT, _SET, _FRACTION, _INTEGER, _VALUE = range(10, 17)
_PLAIN = (float, str, bytes, bool, type(None))
_VALUES: tuple[type, ...] = (Decimal, datetime, date, time, timedelta, UUID)
_encode = msgspec.msgpack.encode


class Unkept(Refused):
    """A view holds what cannot be written down exactly."""


class Watch:
    """A live view, of which it is known which keys have changed lately."""

    def __init__(self, view: View[Any]) -> None:
        """Take note of every key that the view adds to from now on."""
        self.view, self.name = view, type(view).__name__
        self.print = fingerprint(type(view))
        self.touched: dict[str, int] = {}  # key -> newest origin that has changed it
        kinds = {
            kind: None
            for source in view.sources()
            for hint in types_of(source).values()
            for kind in _named(hint)
        }
        self._kinds = {_title(kind): kind for kind in (*_VALUES, *kinds)}
        self._decoder = msgspec.msgpack.Decoder(ext_hook=self._untold)
        add, touched, key_field = view.add, self.touched, view.__key__

        def noted(event: Any, origin: int | None = None, path: str = "") -> None:
            add(event, origin, path)
            key = str(getattr(event, key_field)) if key_field else event.entity
            if origin is not None and touched.get(key, -1) < origin:
                touched[key] = origin

        view.add = noted  # type: ignore[method-assign]  # the one view of its class

    def changed(self, since: int) -> list[str]:
        """Return the keys that an origin from `since` on has changed, and forget the others."""
        for key in [key for key, origin in self.touched.items() if origin < since]:
            del self.touched[key]
        return list(self.touched)

    def keys(self) -> list[str]:
        """Return every key."""
        return list({**self.view._series, **self.view._running})

    def adopt(self, fresh: View[Any], origin: int) -> None:
        """Let the view go on with the states of another one, which knows the same origins below `origin`."""
        view = self.view
        for key, series in view._series.items():
            other = fresh._series.setdefault(key, Series(view._floats))
            for place, own in enumerate(series.origins):
                if own >= origin:
                    values = [column[place] for column in series.columns]
                    other.insert((series.times[place], own, series.paths[place]), values)
        for key, running in view._running.items():
            empty = Running([a.zero() for a in view._timeless])
            newer = [newer for newer in running.newer if newer[0][1] >= origin]
            fresh._running.setdefault(key, empty).newer += newer
        view._series, view._running = fresh._series, fresh._running

    # -- to bytes

    def state(self, key: str, origin: int) -> bytes:
        """Return what is added up for a key as of an origin, which no floor has passed. Unkept when it cannot."""
        view, times, states = self.view, None, None
        if (series := view._series.get(key)) is not None:
            series.prune(origin, view.__reach__)
            times = self._series(series, origin)
        if (running := view._running.get(key)) is not None:
            states = [self._told(state) for state in view._folded(running, origin)]
        return _encode((times, states))

    def _series(self, series: Series, origin: int) -> tuple[Any, ...]:
        kept = [index for index, own in enumerate(series.origins) if own < origin]
        if len(kept) == len(series.origins):
            times, origins, paths, columns = series.times, series.origins, series.paths, series.columns
        else:
            times, origins = (array("q", (row[i] for i in kept)) for row in (series.times, series.origins))
            paths = [series.paths[i] for i in kept]
            columns = [
                array("d", (c[i] for i in kept)) if isinstance(c, array) else [c[i] for i in kept]
                for c in series.columns
            ]
        names = {path: place for place, path in enumerate(dict.fromkeys(paths))}
        places = array("I", (names[path] for path in paths)).tobytes() if len(names) > 1 else b""
        values = [c.tobytes() if isinstance(c, array) else [self._told(v) for v in c] for c in columns]
        return times.tobytes(), origins.tobytes(), list(names), places, values

    def _told(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is int:
            return (
                value if -(1 << 63) <= value < 1 << 63 else msgspec.msgpack.Ext(_INTEGER, str(value).encode())
            )
        for code, of in ((_TUPLE, tuple), (_LIST, list), (_SET, frozenset)):
            if kind is of:
                return msgspec.msgpack.Ext(code, _encode([self._told(item) for item in value]))
        if kind is dict:
            return msgspec.msgpack.Ext(
                _DICT, _encode([(self._told(k), self._told(v)) for k, v in value.items()])
            )
        if kind is Fraction:
            pair = self._told(value.numerator), self._told(value.denominator)
            return msgspec.msgpack.Ext(_FRACTION, _encode(pair))
        title = "" if codec.is_array(kind) else _title(kind)
        if title and self._kinds.get(title) is not kind:
            raise Unkept(f"view {self.name} holds a {title}, which no checkpoint can tell exactly")
        return msgspec.msgpack.Ext(_VALUE, _encode((title, codec.encode(value))))

    # -- and back

    def restore(self, rows: Sequence[Row]) -> None:
        """Put states of this view in their places."""
        view = self.view
        for _, key, data in rows:
            times, states = self._decoder.decode(data)
            if times is not None:
                view._series[key] = self._back(times)
            if states is not None:
                view._running[key] = Running(states)

    def _back(self, told: Sequence[Any]) -> Series:
        series = Series(self.view._floats)
        times, origins, names, places, values = told
        series.times.frombytes(times)
        series.origins.frombytes(origins)
        series.tops.extend(accumulate(series.origins, max))
        if places:
            series.paths = [names[place] for place in array("I", places)]
        else:
            series.paths = names * len(series.times)
        for column, kept in zip(series.columns, values, strict=True):
            column.frombytes(kept) if isinstance(kept, bytes) else column.extend(kept)
        series.room = 2 * len(series.times) + 32
        return series

    def _untold(self, code: int, data: memoryview) -> Any:
        if code == _INTEGER:
            return int(bytes(data))
        items = self._decoder.decode(data)
        if code == _VALUE:
            title, body = items
            return codec.decode(body, self._kinds[title] if title else Any)
        if code == _FRACTION:
            return Fraction(*items)
        made: dict[int, Any] = {_TUPLE: tuple, _LIST: list, _SET: frozenset, _DICT: dict}
        return made[code](items)


def page(watches: dict[str, Watch], left: list[tuple[str, str]], origin: int) -> list[Row]:
    """Return the states of some of the keys that are left, as of an origin, and take these off the list."""
    rows, size = list[Row](), 0
    while left and len(rows) < PAGE and size < PAGE_BYTES:
        name, key = left.pop()
        rows.append((name, key, watches[name].state(key, origin)))
        size += len(rows[-1][2])
    return rows


def owed(watches: dict[str, Watch], since: int, known: dict[str, str]) -> list[tuple[str, str]]:
    """Return (view, key) of what a checkpoint lacks that has `known` views as of `since`."""
    return [
        (name, key)
        for name, watch in watches.items()
        for key in (watch.changed(since) if known.get(name) == watch.print else watch.keys())
    ]


def fingerprint(kind: type[View[Any]]) -> str:
    """Return a hash of all that the states of a view depend on: its definition, its code, and its events' types."""
    parts: list[Any] = [FORMAT, kind.__key__, kind.__at__, kind.__reach__, _code(kind)]
    for a in kind.__aggregates__:
        parts.append((a.name, _title(type(a)), a.field, str(a.window), str(a.delay), _code(type(a))))
    for source in kind.sources():
        fields = [(name, str(hint)) for name, hint in types_of(source).items()]
        upcasts = [_text(upcast) for upcast in source.__upcasts__]
        parts.append((source.__name__, source.__version__, fields, upcasts, _code(source)))
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _code(kind: type) -> list[str]:
    """Return the text of the functions of a class; of our own classes FORMAT speaks."""
    return [
        _text(thing.fget if isinstance(thing, property) else thing)
        for each in kind.__mro__
        if not each.__module__.startswith(("allotrope.", "builtins", "typing", "msgspec"))
        for name, thing in sorted(vars(each).items())
        if inspect.isfunction(thing) or isinstance(thing, property)
    ]


def _text(function: Any) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # made at run time, or no function of Python
        code = getattr(function, "__code__", None)
        return (
            str(getattr(function, "__qualname__", ""))
            if code is None
            else f"{code.co_code.hex()} {code.co_consts!r}"
        )


def _title(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _named(hint: Any) -> set[type]:
    """Return the classes that a field's type names, directly or through others."""
    found: set[type] = set()
    left = [hint]
    while left:
        each = left.pop()
        left += typing.get_args(each)
        if isinstance(each, type) and each not in found and issubclass(each, Enum | msgspec.Struct):
            found.add(each)
            left += types_of(each).values() if issubclass(each, msgspec.Struct) else ()
    return found
