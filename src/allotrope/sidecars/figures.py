"""Figures: what the calls of each minute add up to, by operation. They can be added up again over replicas.

Times fall into buckets that are 2 % wide, so a quantile is right to 1 %. Not here: single calls (`files`).
"""

from collections import Counter
from collections.abc import Iterable
from math import log
from pathlib import Path
from typing import Any

import msgspec

FOLDER = "requests"  # in the folder of the app; below it one for each unit
KEPT = 60  # minutes
_STEP = log(1.02)
_FIELDS = 64  # of one operation's arguments, that are followed


class Spread(msgspec.Struct):
    """How the values of one numeric field lie."""

    count: int = 0
    total: float = 0.0
    least: float = 0.0
    most: float = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.merge(Spread(1, value, value, value))

    def merge(self, other: "Spread") -> None:
        """Count the values of another as well."""
        self.least = min(self.least, other.least) if self.count else other.least
        self.most = max(self.most, other.most) if self.count else other.most
        self.count, self.total = self.count + other.count, self.total + other.total


class Minute(msgspec.Struct):
    """The calls of one operation that began in one minute, or in several."""

    count: int = 0
    errors: dict[str, int] = {}
    times: dict[int, int] = {}  # bucket -> calls
    fields: dict[str, Spread] = {}

    def add(self, took: int, status: str) -> None:
        """Count one call, which took so many microseconds."""
        self.count += 1
        bucket = int(log(took) / _STEP) if took > 0 else -1
        self.times[bucket] = self.times.get(bucket, 0) + 1
        if status != "ok":
            self.errors[status] = self.errors.get(status, 0) + 1

    def merge(self, other: "Minute") -> None:
        """Count the calls of another as well."""
        self.count += other.count
        self.times = dict(Counter(self.times) + Counter(other.times))
        self.errors = dict(Counter(self.errors) + Counter(other.errors))
        for name, spread in other.fields.items():
            self.fields.setdefault(name, Spread()).merge(spread)

    def quantile(self, share: float) -> float:
        """Return the microseconds that this share of the calls did not exceed."""
        left = share * self.count
        for bucket in sorted(self.times):
            left -= self.times[bucket]
            if left <= 0:
                return 0.0 if bucket < 0 else float(1.02 ** (bucket + 0.5))
        return 0.0

    def follow(self, arguments: Any) -> None:
        """Count the numbers among arguments, each under the way to it."""
        for name, value in _numbers(arguments, ""):
            if name in self.fields or len(self.fields) < _FIELDS:
                self.fields.setdefault(name, Spread()).add(value)


class Figures(msgspec.Struct):
    """The newest minutes of one replica, by number since 1970 and operation, and what is known of its log."""

    unit: str
    replica: str
    life: str = ""  # of the ring that the counts below are of
    minutes: dict[int, dict[str, Minute]] = {}
    calls: int = 0  # written to the log
    dropped: int = 0  # found no room in the ring
    unread: int = 0  # could not be made sense of
    starts: int = 0  # of the sidecar
    release: int = 1

    def at(self, minute: int, title: str) -> Minute:
        """Return the calls of an operation in a minute, to be added to; old minutes make room."""
        found = self.minutes.get(minute)
        if found is None:
            found = self.minutes[minute] = {}
            for old in sorted(self.minutes)[:-KEPT]:
                del self.minutes[old]
        return found.setdefault(title, Minute())


def summed(all_of_them: Iterable[Figures], since: int) -> dict[tuple[str, str, int], Minute]:
    """Return the calls of each unit, operation and release since a minute."""
    found: dict[tuple[str, str, int], Minute] = {}
    for figures in all_of_them:
        for minute, titles in figures.minutes.items():
            if minute >= since:
                for title, calls in titles.items():
                    place = (figures.unit, title, figures.release)
                    found.setdefault(place, Minute()).merge(calls)
    return found


def read_figures(path: Path) -> Figures | None:
    """Return the figures in a file, None when there are none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Figures)
    except (OSError, msgspec.DecodeError):
        return None


def figures_in(folder: Path) -> list[Figures]:
    """Return the figures of all replicas in the folder of an app."""
    found = [read_figures(path) for path in sorted((folder / FOLDER).glob("*/*.json"))]
    return [figures for figures in found if figures is not None]


def _numbers(value: Any, name: str) -> Iterable[tuple[str, float]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _numbers(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)
