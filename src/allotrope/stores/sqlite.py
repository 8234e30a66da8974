"""The ledger in one SQLite file, `ledger.db`: what one operation does is in one transaction."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from allotrope.kernel.codec import decode, encode
from allotrope.kernel.errors import Lost, Refused
from allotrope.kernel.tables import Durability
from allotrope.storage.files import Database
from allotrope.storage.groups import Group, Work
from allotrope.storage.points import reach
from allotrope.storage.ports import Commit, Envelope, Fenced, Overtaken

DAY = 86_400_000_000  # microseconds
_PRUNE_EVERY = 1000  # outcomes, and records
_CHANGES = 100_000  # commits for which it is known which rows they changed

_SCHEMA = """
CREATE TABLE rows("table" TEXT, key TEXT, row BLOB NOT NULL, PRIMARY KEY("table", key)) STRICT, WITHOUT ROWID;
CREATE TABLE inbox(origin INTEGER, path TEXT, consumer TEXT, PRIMARY KEY(origin, path, consumer))
  STRICT, WITHOUT ROWID;
CREATE TABLE outbox(number INTEGER PRIMARY KEY, envelope BLOB NOT NULL) STRICT;
CREATE TABLE outcome(number INTEGER PRIMARY KEY, request TEXT NOT NULL UNIQUE, answer BLOB NOT NULL,
  at INTEGER NOT NULL) STRICT;
CREATE TABLE record(number INTEGER PRIMARY KEY, consumer TEXT NOT NULL, origin INTEGER NOT NULL,
  path TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX record_origin ON record(origin);
CREATE TABLE marks(floor INTEGER NOT NULL, number INTEGER NOT NULL, newest INTEGER NOT NULL) STRICT;
INSERT INTO marks VALUES(0, 0, 0);
CREATE TABLE lease(partition INTEGER PRIMARY KEY, epoch INTEGER NOT NULL) STRICT;
CREATE TABLE changed("table" TEXT, key TEXT, number INTEGER NOT NULL, PRIMARY KEY("table", key)) STRICT, WITHOUT ROWID;
CREATE INDEX changed_number ON changed("table", number);
CREATE TABLE changes(number INTEGER NOT NULL) STRICT;
INSERT INTO changes VALUES(0)
"""
# The log may have events under numbers that this file has lost: it would pass over others that got them.
_MEND = "UPDATE marks SET number=number+1000000000"
_UPSERT = "INSERT OR REPLACE INTO rows VALUES(?,?,?)"
_ARRIVE = "INSERT OR IGNORE INTO inbox VALUES(?,?,?)"
_ANSWER = "INSERT OR REPLACE INTO outcome(request,answer,at) VALUES(?,?,?)"
_RECORD = "INSERT INTO record(consumer,origin,path,body) VALUES(?,?,?,?)"
_MARKS = "SELECT floor,number,newest FROM marks"
_CLAIM = """INSERT INTO lease VALUES(?,?)
  ON CONFLICT(partition) DO UPDATE SET epoch=excluded.epoch WHERE excluded.epoch>=epoch"""
_EXPIRE = """DELETE FROM outcome
  WHERE number<coalesce((SELECT number FROM outcome WHERE at>? ORDER BY number LIMIT 1), 9e18)"""


class SqliteLedger:
    """A durable ledger in a folder; it keeps the newest `keep` decision records, or a few more."""

    def __init__(
        self,
        folder: Path | str,
        durability: Durability = "process",
        keep: int = 200_000,
        owner: str = "",
        *,
        shared: bool = False,
    ) -> None:
        self.durability: Durability = durability
        self._keep = keep
        self._file = Database(Path(folder) / "ledger.db", _SCHEMA, durability, _MEND, shared=shared)
        self.shared = shared
        try:
            self._file.belong(owner)
            floor, number, newest = self._file.rows(_MARKS)[0]
        except BaseException:
            self._file.close()
            raise
        self._floor: int = floor
        self._number: int = number  # of the newest outbox event
        self._newest: int = newest  # time of an outcome
        self._kept = (floor, number, newest)  # as the file has them
        self._answers = self._recorded = 0
        self._group = Group(self._write, threaded=durability == "power")

    # -- writing

    async def commit(self, effect: Commit) -> bool:
        """Store all or nothing; an effect in the inbox already, or of a finished origin, is passed over: False."""
        reach("commit.before")
        new = effect.origin >= self._floor and await self._group.add(self._commit, effect)
        reach("commit.after")
        return new

    async def claim(self, leases: Mapping[int, int]) -> None:
        """Hold partitions, each under an epoch, from now on. Fenced when a later epoch has one already."""
        reach("claim.before")
        await self._group.add(self._claim, leases)
        reach("claim.after")

    def mark(self) -> int:
        """Return a number that grows with each commit of any process."""
        number: int = self._file.rows("SELECT number FROM changes")[0][0]
        return number

    async def relayed(self, numbers: Iterable[int]) -> None:
        """Forget outbox events that the log has stored."""
        reach("relayed.before")
        await self._group.add(self._relayed, [(number,) for number in numbers])
        reach("relayed.after")

    def finish(self, floor: int) -> None:
        """Forget inbox names below `floor`; written with the next commit, since it is only a hint."""
        self._floor = max(self._floor, floor)

    def _write(self, jobs: list[tuple[Work, Any]]) -> list[Any]:
        before = self._number, self._newest
        try:
            _, *results, kept = self._file.write(
                lambda: [self._level(), *(work(given) for work, given in jobs), self._mark()]
            )
        except BaseException:
            self._number, self._newest = before
            raise
        self._kept = kept
        return results

    def _marks(self) -> tuple[int, int, int]:
        return self._floor, self._number, self._newest

    def _mark(self) -> tuple[int, int, int]:
        """Write the marks, once for the whole group, and delete what has had its time."""
        execute = self._file.writer.execute
        marks = self._marks()
        if marks != self._kept:
            execute("UPDATE marks SET floor=?,number=?,newest=?", marks)
        if marks[0] != self._kept[0]:
            execute("DELETE FROM inbox WHERE origin<?", (marks[0],))
        if self._answers >= _PRUNE_EVERY:
            self._answers = 0
            execute(_EXPIRE, (self._newest - DAY,))
        if self._recorded >= _PRUNE_EVERY:
            self._recorded = 0
            execute("DELETE FROM record WHERE number<=(SELECT max(number) FROM record)-?", (self._keep,))
            execute("DELETE FROM changed WHERE number<=(SELECT number FROM changes)-?", (_CHANGES,))
        return marks

    def _level(self) -> tuple[int, int, int]:
        """Return the marks, with what other processes have written since."""
        if self.shared:
            floor, self._number, newest = self._kept = self._file.pending(_MARKS)[0]
            self._floor, self._newest = max(floor, self._floor), max(newest, self._newest)
        return self._marks()

    def _claim(self, leases: Mapping[int, int]) -> None:
        for partition, epoch in leases.items():
            self._file.writer.execute(_CLAIM, (partition, epoch))
            if not self._file.writer.changes():
                raise Fenced(
                    f"{self._file.path}: partition {partition} is held under a later epoch than {epoch}"
                )

    def _guard(self, effect: Commit) -> None:
        """Raise when it ran on a lease that has passed on, or on rows that have changed since."""
        if effect.lease is not None:
            found = self._file.pending("SELECT epoch FROM lease WHERE partition=?", effect.lease[:1])
            if found and found[0][0] > effect.lease[1]:
                raise Fenced(
                    f"{self._file.path}: partition {effect.lease[0]} is another's now; nothing was stored"
                )
        if (
            effect.reads
            and 0 <= effect.mark < self._file.pending("SELECT number FROM changes")[0][0] - _CHANGES
        ):
            raise Overtaken(f"{effect.consumer} began too long ago to tell what has changed since")
        for table, key in effect.reads if effect.mark >= 0 else ():
            one, which = (
                ("", (table, effect.mark)) if key is None else (" AND key=?", (table, effect.mark, key))
            )
            if self._file.pending(f'SELECT 1 FROM changed WHERE "table"=? AND number>?{one} LIMIT 1', which):
                raise Overtaken(f"{table}: another process has changed what {effect.consumer} has read")

    def _change(self, effect: Commit) -> None:
        """Take note of the rows that are written, for those who have read them in other processes."""
        execute = self._file.writer.execute
        execute("UPDATE changes SET number=number+1")
        rows = [(table, key) for table, key, _ in effect.writes]
        self._file.writer.executemany(
            "INSERT OR REPLACE INTO changed VALUES(?,?,(SELECT number FROM changes))", rows
        )

    def _commit(self, effect: Commit) -> bool:
        execute = self._file.writer.execute
        if self.shared and effect.origin < self._floor:  # which another process has moved on
            return False
        execute(_ARRIVE, (effect.origin, effect.path, effect.consumer))
        if not self._file.writer.changes():
            return False
        if self.shared:
            self._guard(effect)
            self._change(effect)
        for table, key, row in effect.writes:
            if row is None:
                execute('DELETE FROM rows WHERE "table"=? AND key=?', (table, key))
            else:
                execute(_UPSERT, (table, key, row))
        for envelope in effect.outbox:
            self._number += 1
            execute("INSERT INTO outbox VALUES(?,?)", (self._number, encode(envelope)))
        if effect.request:
            execute(_ANSWER, (effect.request, effect.outcome, effect.at))
            self._newest = max(self._newest, effect.at)
            self._answers += 1
        if effect.record:
            execute(_RECORD, (effect.consumer, effect.origin, effect.path, effect.record))
            self._recorded += 1
        return True

    def _relayed(self, numbers: list[tuple[int]]) -> None:
        self._file.writer.executemany("DELETE FROM outbox WHERE number=?", numbers)

    # -- reading

    def get(self, table: str, key: str) -> bytes | None:
        """Return a committed row."""
        found = self._file.rows('SELECT row FROM rows WHERE "table"=? AND key=?', (table, key))
        return found[0][0] if found else None

    def scan(self, table: str) -> Iterator[tuple[str, bytes]]:
        """Yield the committed rows of a table, as they are now, in the order of their keys."""
        yield from self._file.rows('SELECT key,row FROM rows WHERE "table"=? ORDER BY key', (table,))

    def inbox(self) -> Iterator[tuple[str, int, str]]:
        """Yield (consumer, origin, path) of every effect of an unfinished origin, by origin and path."""
        names = "SELECT consumer,origin,path FROM inbox WHERE origin>=? ORDER BY origin,path,consumer"
        yield from self._file.rows(names, (self._floor,))

    def floor(self) -> int:
        """Return the lowest origin that may be unfinished."""
        return self._floor

    def outbox(self, limit: int = 1000) -> Sequence[tuple[int, Envelope]]:
        """Return numbered events that were committed and not yet relayed, in order."""
        found = self._file.rows("SELECT number,envelope FROM outbox ORDER BY number LIMIT ?", (limit,))
        return [(number, decode(envelope, Envelope)) for number, envelope in found]

    def outcome(self, request: str) -> bytes | None:
        """Return the recorded answer of a request of the last 24 hours, counted back from the newest one."""
        newer = "SELECT answer FROM outcome WHERE request=? AND at>?"
        found = self._file.rows(newer, (request, self._newest - DAY))
        return found[0][0] if found else None

    def records(self, origin: int | None = None) -> Iterator[tuple[str, int, str, bytes]]:
        """Yield (consumer, origin, path, record) in the order of origin and path."""
        which, bindings = ("WHERE origin=?", (origin,)) if origin is not None else ("", ())
        found = f"SELECT consumer,origin,path,body FROM record {which} ORDER BY origin,path,consumer"
        yield from self._file.rows(found, bindings)

    @property
    def stopped(self) -> str:
        """Return why nothing is written any more, "" while all is well."""
        return self._file.stopped

    def close(self) -> None:
        """Finish what is being written and release the file."""
        self._group.close()
        if not self._file.stopped and self._marks() != self._kept:
            with contextlib.suppress(
                Refused, Lost
            ):  # they are hints, and a full disk must not keep the file open
                self._file.write(lambda: (self._level(), self._mark()))
        self._file.close()
