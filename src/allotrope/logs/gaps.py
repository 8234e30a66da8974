"""Gaps: which entries of a log file were removed on purpose. Every other entry that is missing is damage.

Not here: which entries may go.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from zlib import crc32

from allotrope.kernel.codec import encode
from allotrope.storage.files import Database
from allotrope.storage.ports import Removed

_SCHEMA = """
CREATE TABLE gaps(first INTEGER PRIMARY KEY, last INTEGER NOT NULL, seal INTEGER NOT NULL) STRICT;
CREATE TABLE gone(kind TEXT PRIMARY KEY, entries INTEGER NOT NULL, newest INTEGER NOT NULL, at INTEGER NOT NULL) STRICT
"""
_COUNT = """INSERT INTO gone VALUES(?,1,?,?) ON CONFLICT(kind)
  DO UPDATE SET entries=entries+1, newest=max(newest,excluded.newest), at=max(at,excluded.at)"""


class Head(NamedTuple):
    """What of an entry must be known to remove it."""

    position: int
    kind: str
    at: int
    origin: int
    key: str = ""


class Gaps:
    """The ranges of positions that were removed from one file."""

    def __init__(self, file: Database) -> None:
        self.file = file
        self._there = bool(file.rows("SELECT 1 FROM sqlite_schema WHERE name='gaps'"))

    def covers(self, first: int, last: int) -> bool:
        """Return whether all positions from `first` to `last` were removed on purpose."""
        if not self._there:
            return False
        found = self.file.rows("SELECT * FROM gaps WHERE first<=? ORDER BY first DESC LIMIT 1", (first,))
        return bool(found) and found[0][1] >= last and found[0][2] == sealed(*found[0][:2])

    def last(self) -> int:
        """Return the highest position that was removed."""
        return int(self.file.rows("SELECT coalesce(max(last),0) FROM gaps")[0][0]) if self._there else 0

    def removed(self) -> dict[str, Removed]:
        """Return what was removed, by kind."""
        return (
            {kind: Removed(*rest) for kind, *rest in self.file.rows("SELECT * FROM gone")}
            if self._there
            else {}
        )

    def remove(self, heads: Sequence[Head]) -> int:
        """Remove entries within the transaction at work, and take note of it; return how many."""
        execute, many = self.file.writer.execute, self.file.writer.executemany
        if not self._there:
            execute(_SCHEMA)
        positions = [(head.position,) for head in heads]
        many("DELETE FROM entries WHERE position=?", positions)
        many("DELETE FROM requests WHERE position=?", positions)
        many(_COUNT, [(head.kind, head.position, head.at) for head in heads])
        newest = max((head.origin for head in heads), default=0)  # no origin may be given a second time
        execute("UPDATE facts SET value=max(value,?) WHERE name='origin'", (newest,))
        for first, last in _runs(sorted(head.position for head in heads)):
            self._join(first, last)
        return len(heads)

    def settle(self) -> None:
        """Take note that a removal has been committed."""
        self._there = True

    def _join(self, first: int, last: int) -> None:
        pending, execute = self.file.pending, self.file.writer.execute
        for left, right in pending(
            "SELECT first,last FROM gaps WHERE last=? OR first=?", (first - 1, last + 1)
        ):
            first, last = min(first, left), max(last, right)
            execute("DELETE FROM gaps WHERE first=?", (left,))
        execute("INSERT INTO gaps VALUES(?,?,?)", (first, last, sealed(first, last)))


def _runs(positions: list[int]) -> Iterator[tuple[int, int]]:
    start = 0
    for place in range(1, len(positions) + 1):
        if place == len(positions) or positions[place] != positions[place - 1] + 1:
            yield positions[start], positions[place - 1]
            start = place


def sealed(first: int, last: int) -> int:
    """Return the checksum of a range of removed positions."""
    return crc32(encode((first, last)))
