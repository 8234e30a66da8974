"""Checkpoints: what views had added up when all origins below one were finished, in two files that take turns.

A file is written row by row beside what it holds, and becomes the newest one in a single transaction; the other one is
left as it was. Only rows that have changed are written. Not here: what a row means, and when to write.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Corrupted, Refused
from allotrope.kernel.tables import Durability
from allotrope.storage.files import Database

R = TypeVar("R")
Row = tuple[str, str, bytes]  # view, key, state
NAMES = ("views-0.db", "views-1.db")
log = logging.getLogger("allotrope")
_PAGE = 500  # rows
_SCHEMA = """
CREATE TABLE rows(id INTEGER PRIMARY KEY, view TEXT NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL,
  state BLOB NOT NULL, seal INTEGER NOT NULL, UNIQUE(view, key)) STRICT;
CREATE INDEX rows_number ON rows(number);
CREATE TABLE fresh(view TEXT, key TEXT, state BLOB NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY(view, key)) STRICT;
CREATE TABLE kept(body BLOB NOT NULL) STRICT
"""
_APPLY = """INSERT INTO rows(view,key,number,state,seal) SELECT view,key,?,state,seal FROM fresh WHERE true
  ON CONFLICT(view,key) DO UPDATE SET number=excluded.number, state=excluded.state, seal=excluded.seal"""
_REPLACED = "SELECT count(*),coalesce(sum(rows.seal),0) FROM rows JOIN fresh USING(view,key)"
_FRESH = "SELECT count(*),coalesce(sum(seal),0) FROM fresh"


class Kept(msgspec.Struct, frozen=True):
    """What one checkpoint holds: every event of origins below `since`, and no other."""

    number: int
    app: str
    since: int
    position: int  # of the log, from which on every entry of origins from `since` on is found
    seal: int  # of the entry before it: is this the log that it was drawn from?
    views: dict[str, str]  # the definition of each, as a hash
    notes: bytes = b""  # what else must be known at that position
    rows: int = 0
    digest: int = 0  # the sum of the seals of all rows


class _File:
    """One of the two, open."""

    def __init__(self, path: Path, durability: Durability) -> None:
        self.path = path
        self.database = Database(path, _SCHEMA, durability)
        found = self.database.rows("SELECT body FROM kept")
        self.kept = codec.decode(found[0][0], Kept) if found else None

    def write(self, work: Callable[[], R]) -> R:
        return self.database.write(work)

    def execute(self, sql: str, bindings: tuple[object, ...] = ()) -> None:
        self.database.writer.execute(sql, bindings)

    def pages(self, views: Iterable[str], number: int = 0) -> Iterator[list[tuple[str, str, bytes, int]]]:
        """Yield the rows of some views that are newer than checkpoint `number`, by the page."""
        marks = ",".join("?" * len(names := tuple(views)))
        sql = (
            f"SELECT id,view,key,state,seal FROM rows WHERE id>? AND number>? AND view IN ({marks}) "
            f"ORDER BY id LIMIT {_PAGE}"
        )
        last = 0
        while page := self.database.rows(sql, (last, number, *names)):
            last = page[-1][0]
            for _, view, key, state, seal in page:
                if row_seal(view, key, state) != seal:
                    raise Corrupted(f"{self.path}: the row of {view}[{key!r}] is damaged")
            yield [tuple(row[1:]) for row in page]


class Checkpoints:
    """The two files in a folder. One thread at a time may use them; what is damaged is passed over."""

    def __init__(self, folder: Path, durability: Durability) -> None:
        """Open nothing yet: who has no views to keep gets no files."""
        self.folder, self.durability = folder, durability
        self.newest: Kept | None = None
        self._files: dict[str, _File] = {}
        self._target: _File | None = None
        self._damaged: set[str] = set()  # names of files that are written anew, once there is another one
        self._lock = threading.Lock()

    def found(self) -> list[Kept]:
        """Return what there is, the newest first. A file that cannot be read is told of, and counts as missing."""
        for name in NAMES:
            if name not in self._files and (self.folder / name).exists():
                self._open(name)
        kept = [file.kept for file in self._files.values() if file.kept is not None]
        return sorted(kept, key=lambda each: -each.number)

    def _open(self, name: str) -> _File:
        path = self.folder / name
        try:
            self._files[name] = _File(path, self.durability)
        except (Corrupted, msgspec.MsgspecError) as error:
            log.warning("%s is passed over and written anew: %s", path, error)
            self.drop(name)
            self._files[name] = _File(path, self.durability)
        return self._files[name]

    def drop(self, name: str) -> None:
        """Delete a file that is of no use."""
        if (file := self._files.pop(name, None)) is not None:
            file.database.close()
        path = self.folder / name
        for left in (
            path,
            *(path.with_name(f"{name}-{end}") for end in ("wal", "shm")),
            path.with_suffix(".lock"),
        ):
            left.unlink(missing_ok=True)

    def pages(self, kept: Kept, views: Iterable[str]) -> Iterator[list[Row]]:
        """Yield the rows of some views by the page. Corrupted when one is not what was written."""
        for page in self._holding(kept).pages(views):
            yield [(view, key, state) for view, key, state, _ in page]

    def _holding(self, kept: Kept) -> _File:
        return next(file for file in self._files.values() if file.kept == kept)

    # -- writing; each from any thread, one after the other

    def begin(self, views: Mapping[str, str], anew: frozenset[str] = frozenset()) -> None:
        """Begin the next checkpoint, of views of these definitions, with what the newest has and the older has not.

        Nothing is taken over of those that come `anew`.
        """
        with self._lock:
            newest = self.newest
            name = next(n for n in NAMES if newest is None or self._named(n) != newest)
            if name in self._damaged:
                self.drop(name)
                self._damaged.discard(name)
            target = self._target = self._files.get(name) or self._open(name)
            known = target.kept
            stale = (
                newest is None
                or known is None
                or known.app != newest.app
                or known.views != dict(views)
                or anew
            )
            if stale:
                target.write(lambda: target.execute("DELETE FROM rows; DELETE FROM kept; DELETE FROM fresh"))
                target.kept = known = None
            else:
                target.write(lambda: target.execute("DELETE FROM fresh"))
            if newest is not None:
                same = [
                    view
                    for view, print in views.items()
                    if newest.views.get(view) == print and view not in anew
                ]
                for page in self._holding(newest).pages(same, 0 if known is None else known.number):
                    self._stage(target, page)

    def _named(self, name: str) -> Kept | None:
        return self._files[name].kept if name in self._files else None

    @staticmethod
    def _stage(target: _File, rows: Sequence[tuple[str, str, bytes, int]]) -> None:
        insert = "INSERT OR REPLACE INTO fresh VALUES(?,?,?,?)"
        target.write(lambda: target.database.writer.executemany(insert, rows))

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows that have changed."""
        with self._lock:
            assert self._target is not None, "begin first"
            self._stage(self._target, [(*row, row_seal(*row)) for row in rows])

    def finish(self, kept: Kept) -> Kept:
        """Make what was added the newest checkpoint, and return it as it stands in the file."""
        with self._lock:
            target = self._target
            assert target is not None, "begin first"
            before = target.kept
            number = 1 + max((file.kept.number for file in self._files.values() if file.kept), default=0)

            def work() -> Kept:
                pending = target.database.pending
                (more, seals), (less, old) = pending(_FRESH)[0], pending(_REPLACED)[0]
                rows, digest = (0, 0) if before is None else (before.rows, before.digest)
                whole = msgspec.structs.replace(
                    kept, number=number, rows=rows + more - less, digest=digest + seals - old
                )
                target.execute(_APPLY, (number,))
                target.execute("DELETE FROM fresh; DELETE FROM kept")
                target.execute("INSERT INTO kept VALUES(?)", (codec.encode(whole),))
                return whole

            self.newest = target.kept = target.write(work)
            self._target = None
            return self.newest

    # -- reading back

    def whole(self, kept: Kept) -> bool:
        """Return whether a checkpoint, read from its file from beginning to end, is what was written."""
        with self._lock:
            file, rows, digest = self._holding(kept), 0, 0
            try:
                for page in file.pages(kept.views):
                    rows, digest = rows + len(page), digest + sum(seal for *_, seal in page)
            except (Corrupted, Refused) as error:
                log.warning("checkpoint %d of the views is damaged: %s", kept.number, error)
            if sound := (rows, digest) == (kept.rows, kept.digest):
                return sound
            file.kept = None
            self._damaged.add(file.path.name)
            return False

    def close(self) -> None:
        """Release the files."""
        with self._lock:
            for file in self._files.values():
                file.database.close()
            self._files.clear()


def row_seal(view: str, key: str, state: bytes) -> int:
    """Return the checksum of a row."""
    return crc32(state, crc32(f"{view}/{key}".encode()))
