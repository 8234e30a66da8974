"""Views: what a stream of events adds up to, per key and window, read as of an origin.

A reader at origin `o` sees the effect of all smaller origins and of no other, however far the view has run.
Aggregates do not depend on order, so equality is of bits. Not here: storage; a view is rebuilt from its log.
"""

import copy
import sys
import typing
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Generic, Self, TypeVar

from allotrope.kernel.aggregates import Aggregate
from allotrope.kernel.calls import LAST_ORIGIN, current
from allotrope.kernel.messages import Event

E = TypeVar("E", bound=Event)
_EPOCH, _EPOCH_UTC = datetime(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def days(count: float) -> timedelta:
    """Return a length of time in days."""
    return timedelta(days=count)


def micros(at: datetime) -> int:
    """Return microseconds since 1970; a time without zone is taken as UTC."""
    since = at - (_EPOCH if at.tzinfo is None else _EPOCH_UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


class Series:
    """The events of one key that a window may still reach, in the order of time, origin and path."""

    __slots__ = ("columns", "origins", "paths", "room", "times", "tops")

    def __init__(self, floats: Iterable[bool]) -> None:
        # Numbers side by side: a window's sum reads one piece of memory, not an object for each event.
        self.times, self.origins = array("q"), array("q")
        self.paths: list[str] = []
        self.columns: list[Any] = [array("d") if plain else [] for plain in floats]
        self.tops = array("q")  # the largest origin up to each place
        self.room = 32  # length at which to look for what no window reaches any more

    def insert(self, mark: tuple[int, int, str], values: list[Any]) -> None:
        """Put one event in its place; at the end, nearly always."""
        time, origin, path = mark
        index = len(self.times)
        if index and time <= self.times[-1]:
            index = bisect_right(self.times, time)
            while index and (self.times[index - 1], self.origins[index - 1], self.paths[index - 1]) > mark:
                index -= 1
        self.times.insert(index, time)
        self.origins.insert(index, origin)
        self.paths.insert(index, path)
        for place, column in enumerate(self.columns):
            column.insert(index, values[place])
        del self.tops[index:]
        for own in self.origins[index:]:
            self.tops.append(max(own, self.tops[-1] if self.tops else own))

    def before(self, origin: int) -> tuple["Series", int]:
        """Return the part with smaller origins, and its length: nearly always a beginning of this one."""
        end = bisect_left(self.tops, origin)
        if min(self.origins[end:], default=origin) >= origin:
            return self, end
        kept = [index for index, own in enumerate(self.origins) if own < origin]
        part = Series(())
        part.times.extend(self.times[index] for index in kept)
        part.columns = [[column[index] for index in kept] for column in self.columns]
        return part, len(kept)

    def prune(self, floor: int, reach: int) -> None:
        """Forget what lies further back than `reach` behind the newest event that every reader sees."""
        seen, end = self.before(floor)
        if end and (cut := bisect_right(self.times, seen.times[end - 1] - reach)):
            rows: list[Any] = [self.times, self.origins, self.paths, self.tops, *self.columns]
            for row in rows:
                del row[:cut]
        self.room = 2 * len(self.times) + 32


class Running:
    """The all-time state of one key: what every reader sees, and the few newer values."""

    __slots__ = ("newer", "states")

    def __init__(self, states: list[Any]) -> None:
        self.states = states
        self.newer: list[tuple[tuple[int, int, str], list[Any]]] = []


class View(Generic[E]):
    """What events of type E add up to: `class Spending(View[Payment], key="card", at="at")`.

    A View object is either the live view, a component's dependency, or one key's reading, as `of` gives it:
    then its aggregates are plain values. `late` is how far behind the newest event a window may be asked for.
    """

    __key__: ClassVar[str] = ""
    __at__: ClassVar[str] = ""
    __late__: ClassVar[timedelta] = timedelta(days=1)
    __reach__: ClassVar[int] = 0
    __aggregates__: ClassVar[tuple[Aggregate[Any], ...]] = ()
    __windows__: ClassVar[dict[tuple[int, int], list[Aggregate[Any]]]] = {}  # by width and delay
    __line__: ClassVar[int] = 1

    def __init_subclass__(cls, key: str = "", at: str = "", late: timedelta | None = None) -> None:
        """Collect the aggregates, inherited ones too, and the windows they need."""
        super().__init_subclass__()
        cls.__line__ = sys._getframe(1).f_lineno
        cls.__key__, cls.__at__ = key or cls.__key__, at or cls.__at__
        cls.__late__ = cls.__late__ if late is None else late
        names = dict.fromkeys(name for kind in reversed(cls.__mro__) for name in vars(kind))
        for name in names:
            if isinstance(a := getattr(cls, name, None), Aggregate) and name not in vars(cls):
                setattr(cls, name, copy.copy(a))  # it knows the type of its own view's events
        cls.__aggregates__ = tuple(a for n in names if isinstance(a := vars(cls).get(n), Aggregate))
        cls.__windows__ = {}
        for a in cls.__aggregates__:
            if a.window:
                span = a.window // _MICROSECOND, a.delay // _MICROSECOND
                cls.__windows__.setdefault(span, []).append(a)
        cls.__reach__ = max(map(sum, cls.__windows__), default=0) + cls.__late__ // _MICROSECOND

    @classmethod
    def sources(cls) -> tuple[type[Event], ...]:
        """Return the event types that the view adds up."""
        for base in getattr(cls, "__orig_bases__", ()):
            if issubclass(typing.get_origin(base) or Event, View):
                (source,) = typing.get_args(base)
                return typing.get_args(source) or (source,)
        return ()

    def __init__(self) -> None:
        """Start empty. By hand all origins are settled; a runtime sets `floor`, the lowest unfinished."""
        self.floor: Callable[[], int] = lambda: LAST_ORIGIN
        self._series: dict[str, Series] = {}
        self._running: dict[str, Running] = {}
        fields = self._fields = sorted({a.field for a in self.__aggregates__ if a.window and a.field})
        self._windowed = [
            (span, [(a.name, a.over, fields.index(a.field) if a.field else -1) for a in group])
            for span, group in self.__windows__.items()
        ]
        self._timeless = [a for a in self.__aggregates__ if not a.window]
        hints = [typing.get_type_hints(source) for source in self.sources()]
        for a in self.__aggregates__:
            a.kind = hints[0].get(a.field, float)
        self._floats = [all(kinds.get(field) is float for kinds in hints) for field in fields]
        self._count, self._asked = 0, f"{type(self).__name__}.of"

    def add(self, event: E, origin: int | None = None, path: str = "") -> None:
        """Count one event in. By hand origins follow the order of the calls."""
        if origin is None:
            self._count += 1
            origin = self._count
        key = str(getattr(event, self.__key__)) if self.__key__ else event.entity
        mark = (micros(getattr(event, self.__at__)) if self.__at__ else origin, origin, sys.intern(path))
        if self.__windows__:
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = Series(self._floats)
            series.insert(mark, [getattr(event, field) for field in self._fields])
            if len(series.times) > series.room:
                series.prune(self.floor(), self.__reach__)
        if self._timeless:
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = Running([a.zero() for a in self._timeless])
            values = [getattr(event, a.field) if a.field else None for a in self._timeless]
            running.newer.append((mark, values))
            self._settle(running)

    def _settle(self, running: Running) -> None:
        floor = self.floor()
        if running.newer[0][0][1] < floor:
            running.states = self._folded(running, floor)
            running.newer = [newer for newer in running.newer if newer[0][1] >= floor]

    def _folded(self, running: Running, origin: int) -> list[Any]:
        states = running.states
        for mark, values in running.newer:
            if mark[1] < origin:
                states = [a.add(s, v, mark) for a, s, v in zip(self._timeless, states, values, strict=True)]
        return states

    async def of(self, key: object, at: datetime | None = None) -> Self:
        """Return the reading of one key at event time `at`.

        Without `at` it is when the input being served was accepted; by hand, the time of the newest event.
        """
        call = current.get()
        name = str(key)
        if call is None:
            return self.reading(name, self._newest(name) if at is None else micros(at), LAST_ORIGIN)
        moment = call.at if at is None else micros(at)
        found = self.reading(name, moment, call.origin)
        if call.effect is not None:
            call.effect.tape.append((self._asked, (name, moment), found))
        return found

    def reading(self, key: str, at: int, origin: int) -> Self:
        """Return the reading of one key at `at` microseconds, as of `origin`."""
        reading = object.__new__(type(self))
        figures = reading.__dict__
        if self.__windows__:
            self._read_windows(figures, self._series.get(key) or Series(self._floats), at, origin)
        if self._timeless:
            running = self._running.get(key) or Running([a.zero() for a in self._timeless])
            if running.newer:
                self._settle(running)
            states = self._folded(running, origin) if running.newer else running.states
            for a, state in zip(self._timeless, states, strict=True):
                figures[a.name] = a.result(state)
        return reading

    def _read_windows(self, figures: dict[str, Any], series: Series, at: int, origin: int) -> None:
        series, size = series.before(origin)
        times, columns = series.times, series.columns
        # What lies beyond the reach is hidden even while it is held: no answer depends on pruning.
        horizon = times[size - 1] - self.__reach__ if size else 0
        for (width, delay), figured in self._windowed:
            end = at - delay
            start = end - width
            first = bisect_right(times, start if start > horizon else horizon, 0, size)
            last = bisect_right(times, end, 0, size)
            for name, over, column in figured:
                figures[name] = over(columns[column] if column >= 0 else times, first, last)

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return every key with its newest reading, for comparison and display."""
        keys = sorted({*self._series, *self._running})
        return {key: self.reading(key, self._newest(key), LAST_ORIGIN).__dict__ for key in keys}

    def _newest(self, key: str) -> int:
        series = self._series.get(key)
        return series.times[-1] if series else LAST_ORIGIN
