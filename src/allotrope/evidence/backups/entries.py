"""Entries of a log file, read as they lie there: what is missing or damaged is told, and reading goes on behind it."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import apsw
import msgspec

from allotrope.evidence.backups.cuts import rows, told_of
from allotrope.logs.gaps import sealed
from allotrope.logs.sqlite import entry_of, seal_of
from allotrope.storage.ports import Entry

PAGE = 500
_SELECT = "SELECT * FROM entries WHERE position>=? ORDER BY position LIMIT ?"
_HAVE = "SELECT 1 FROM sqlite_schema WHERE name=?"
Missed = Callable[[int, int, str], None]  # first and last position, and what is wrong there


class Gone(NamedTuple):
    """A range of positions that was removed on purpose."""

    first: int
    last: int


def gone_from(log: apsw.Connection) -> list[Gone]:
    """Return what was removed on purpose, in order; a range whose checksum is wrong is none."""
    if not log.execute(_HAVE, ("gaps",)).fetchall():
        return []
    rows = log.execute("SELECT first,last,seal FROM gaps ORDER BY first")
    return [Gone(first, last) for first, last, seal in rows if sealed(first, last) == seal]


def facts_of(log: apsw.Connection) -> dict[str, int]:
    """Return what a log knows of itself: partitions, the newest origin that has left it, the doubtful one."""
    return dict(log.execute("SELECT name,value FROM facts"))


def owner_of(file: apsw.Connection) -> str:
    """Return the name of the app whose file it is, "" when it does not say."""
    found = (
        file.execute("SELECT app FROM owner").fetchall() if file.execute(_HAVE, ("owner",)).fetchall() else []
    )
    return str(found[0][0]) if found else ""


def last_position(log: apsw.Connection) -> int:
    """Return the highest position that a log has given."""
    try:
        ((newest,),) = rows(log, "SELECT coalesce(max(position),0) FROM entries")
    except apsw.Error:  # the last page of the table is damaged; the index of origins has the positions too
        ((newest,),) = rows(
            log, "SELECT max(position) FROM entries INDEXED BY entries_origin WHERE origin>=0"
        )
    return max([int(newest), *(gone.last for gone in gone_from(log))])


def sound(log: apsw.Connection, first: int, missed: Missed) -> Iterator[tuple[Entry, bool]]:
    """Yield the sound entries from a position on, each with whether some before it were removed on purpose.

    `missed` hears of all others.
    """
    gone, expected, last = gone_from(log), max(first, 1), last_position(log)
    while expected <= last:
        found = _page(log, expected, missed)
        for row in found if found is not None else ():
            left = row[0] != expected
            for start, end in _uncovered(expected, row[0] - 1, gone) if left else ():
                missed(start, end, "missing")
            expected = row[0] + 1
            try:
                entry = entry_of(row)
                right = seal_of(entry) == row[-1]
            except (TypeError, msgspec.MsgspecError):
                right = False
            if right:
                yield entry, left
            else:
                missed(row[0], row[0], "its checksum is wrong")
        if found is None:
            expected += 1
        elif not found:
            for start, end in _uncovered(expected, last, gone):
                missed(start, end, "missing")
            return


def _page(log: apsw.Connection, first: int, missed: Missed) -> list[Any] | None:
    """Return a page of rows; of a damaged page of the file the one row at `first`, and None where that is lost."""
    try:
        return log.execute(_SELECT, (first, PAGE)).fetchall()
    except apsw.Error:
        try:
            return log.execute("SELECT * FROM entries WHERE position=?", (first,)).fetchall() or None
        except apsw.Error as error:
            missed(first, first, told_of(error))
            return None


def _uncovered(first: int, last: int, gone: list[Gone]) -> Iterator[tuple[int, int]]:
    for start, end in gone:
        if end < first or start > last:
            continue
        if start > first:
            yield first, start - 1
        first = end + 1
    if first <= last:
        yield first, last
