"""The log in one SQLite file, `log.db`: entries by position, request ids of a day, a mark per source."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any
from zlib import crc32

from allotrope.kernel.codec import encode
from allotrope.kernel.errors import Corrupted, Refused
from allotrope.kernel.tables import Durability
from allotrope.logs.gaps import Gaps, Head
from allotrope.storage.files import Database
from allotrope.storage.groups import Group, Work
from allotrope.storage.partitions import partition_of
from allotrope.storage.points import reach
from allotrope.storage.ports import Entry, Envelope, Removed

DAY = 86_400_000_000  # microseconds
_PRUNE_EVERY = 1000  # new request ids

_SCHEMA = """
CREATE TABLE entries(position INTEGER PRIMARY KEY, partition INTEGER NOT NULL,
  kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, at INTEGER NOT NULL, origin INTEGER NOT NULL,
  path TEXT NOT NULL, request TEXT NOT NULL, tenant TEXT NOT NULL, trace TEXT NOT NULL,
  time INTEGER NOT NULL, crc32 INTEGER NOT NULL) STRICT;
CREATE TABLE requests(position INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, at INTEGER NOT NULL) STRICT;
CREATE TABLE sources(source TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE facts(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO facts VALUES('origin', 0);
CREATE INDEX entries_origin ON entries(origin)
"""
_NEWEST = "SELECT origin FROM entries WHERE path='' ORDER BY position DESC LIMIT 1"
# The ledger may have effects of origins that this file has lost: they must not be given to other inputs. It may have
# lost effects whose events are here: those of origins up to the `doubtful` one come once more, under new numbers.
_MEND = f"""UPDATE facts SET value=max(value, coalesce(({_NEWEST}), 0)) WHERE name='origin';
INSERT OR REPLACE INTO facts SELECT 'doubtful', value FROM facts WHERE name='origin';
UPDATE facts SET value=1000000000+value WHERE name='origin'"""
_KNOWN = "SELECT 1 FROM entries WHERE origin=? AND path=?"
_INSERT = "INSERT INTO entries VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)"
_HEADS = """SELECT position,kind,at,origin,key FROM entries AS e
  WHERE kind=? AND position>=? AND position<? AND path<>'/version' {} ORDER BY position LIMIT ?"""
_OLD = _HEADS.format("")
_DOUBLES = _HEADS.format("""AND EXISTS(SELECT 1 FROM entries AS n
  WHERE n.kind=e.kind AND n.key=e.key AND n.position<? AND (n.origin,n.path)>(e.origin,e.path))""")
_KEYED = "CREATE INDEX IF NOT EXISTS entries_key ON entries(kind,key)"
_SELECT = "SELECT * FROM entries WHERE position>=? ORDER BY position LIMIT ?"


class SqliteLog:
    """A durable log in a folder; entries are kept, so that views can be rebuilt."""

    def __init__(
        self,
        folder: Path | str,
        durability: Durability = "process",
        partitions: int = 16,
        owner: str = "",
    ) -> None:
        self.durability: Durability = durability
        self._file = Database(Path(folder) / "log.db", _SCHEMA, durability, _MEND)
        try:
            self._file.belong(owner)
            self._partitions = self._settle_partitions(partitions)
            self._gaps = Gaps(self._file)
            ((newest,),) = self._file.rows("SELECT coalesce(max(position),0) FROM entries")
            self._position: int = max(newest, self._gaps.last())
            facts: dict[str, int] = dict(self._file.rows("SELECT name,value FROM facts"))
            self._doubtful = facts.get("doubtful", -1)
            self._origin: int = max([facts["origin"], *(origin for (origin,) in self._file.rows(_NEWEST))])
        except BaseException:
            self._file.close()
            raise
        self._fresh = 0
        self._judged: dict[str, int] = {}  # kind -> position below which all that is left is to stay
        self._group = Group(self._write, threaded=durability == "power")

    def _settle_partitions(self, wanted: int) -> int:
        file, insert = self._file, "INSERT INTO facts VALUES('partitions',?)"
        found = file.rows("SELECT value FROM facts WHERE name='partitions'")
        if not found:
            file.write(lambda: file.writer.execute(insert, (wanted,)))
        elif found[0][0] != wanted:
            raise Refused(
                f"{file.path}: has {found[0][0]} partitions, {wanted} were asked for: keys would change "
                f"place and lose their order; ask for {found[0][0]}, or start a new folder"
            )
        return wanted

    async def open(self) -> None:
        """Be open already: making it opened the file."""

    # -- writing

    async def append(self, inputs: Sequence[Envelope]) -> list[Entry]:
        """Give each input the next origin; an input whose request id is known gives back its first entry."""
        reach("append.before")
        entries: list[Entry] = await self._group.add(self._append, inputs)
        reach("append.after")
        return entries

    async def relay(self, source: str, numbered: Sequence[tuple[int, Envelope]]) -> None:
        """Store derived events by ascending number; those up to the highest stored are passed over."""
        reach("relay.before")
        await self._group.add(self._relay, (source, numbered))
        reach("relay.after")

    def _write(self, jobs: list[tuple[Work, Any]]) -> list[Any]:
        before = self._position, self._origin
        try:
            return self._file.write(lambda: [work(argument) for work, argument in jobs])
        except BaseException:
            self._position, self._origin = before
            raise

    def _append(self, inputs: Sequence[Envelope]) -> list[Entry]:
        return [self._once(given) if given.request else self._add(given) for given in inputs]

    def _once(self, given: Envelope) -> Entry:
        name = encode((given.request, given.tenant, given.kind))
        for position, at in self._file.pending("SELECT position,at FROM requests WHERE name=?", (name,)):
            if at > given.at - DAY:
                return self._entry(self._file.pending(_SELECT, (position, 1))[0])
        self._fresh += 1
        if self._fresh % _PRUNE_EVERY == 0:
            self._forget(given.at - DAY)
        entry = self._add(given)
        self._name(entry)
        return entry

    def _forget(self, expired: int) -> None:
        """Delete old request ids from the first one on; their order is that of time, or nearly."""
        self._file.writer.execute(
            "DELETE FROM requests WHERE position<"
            "coalesce((SELECT position FROM requests WHERE at>? ORDER BY position LIMIT 1),9e18)",
            (expired,),
        )

    def _add(self, given: Envelope) -> Entry:
        self._origin += 1
        return self._store(given.accepted(self._origin))

    def _store(self, envelope: Envelope) -> Entry:
        self._position += 1
        entry = Entry(self._position, partition_of(envelope.key, self._partitions), envelope)
        row = (
            entry.position, entry.partition, envelope.kind, envelope.key, envelope.body, envelope.at,
            envelope.origin, envelope.path, envelope.request, envelope.tenant, envelope.trace, envelope.time,
            seal_of(entry),
        )  # fmt: skip
        self._file.writer.execute(_INSERT, row)
        return entry

    def _relay(self, work: tuple[str, Sequence[tuple[int, Envelope]]]) -> None:
        source, numbered = work
        found = self._file.pending("SELECT number FROM sources WHERE source=?", (source,))
        mark = found[0][0] if found else 0
        for number, envelope in numbered:
            if number > mark:
                if envelope.origin > self._doubtful or not self._known(envelope):
                    self._store(envelope)
                mark = number
        self._file.writer.execute("INSERT OR REPLACE INTO sources VALUES(?,?)", (source, mark))

    async def adopt(self, entries: Sequence[Envelope]) -> None:
        """Store inputs under the origins that they had in another log, and the notes between them; for a restore."""
        await self._group.add(self._adopt, entries)

    def _adopt(self, entries: Sequence[Envelope]) -> None:
        for envelope in entries:
            if envelope.path:
                mark = "INSERT INTO sources VALUES(?,1) ON CONFLICT(source) DO UPDATE SET number=number+1"
                self._file.writer.execute(mark, (envelope.path,))
                self._store(envelope)
                continue
            self._origin = envelope.origin
            entry = self._store(envelope)
            if envelope.request:
                self._name(entry)

    def _name(self, entry: Entry) -> None:
        given = entry.envelope
        # In this order, the names of one request id lie together: who looks for it need not read the entries.
        row = (entry.position, encode((given.request, given.tenant, given.kind)), given.at)
        self._file.writer.execute("INSERT OR REPLACE INTO requests VALUES(?,?,?)", row)

    def _known(self, derived: Envelope) -> bool:
        return bool(self._file.pending(_KNOWN, (derived.origin, derived.path)))

    # -- reading

    async def read(self, position: int = 0, limit: int = 1000) -> Sequence[Entry]:
        """Return at most `limit` entries from a position on; Corrupted names the position of a bad one."""
        expected = max(position, 1)
        try:
            rows = self._file.rows(_SELECT, (position, limit))
        except Corrupted as error:
            raise Corrupted(f"{error} (entries from position {expected} on)") from error
        entries = []
        for row in rows:
            if row[0] != expected and not self._gaps.covers(expected, row[0] - 1):
                raise self._damage(expected, "it is missing")
            entries.append(self._entry(row))
            expected = row[0] + 1
        return entries

    def _entry(self, row: Any) -> Entry:
        entry = entry_of(row)
        if seal_of(entry) != row[-1]:
            raise self._damage(entry.position, "its checksum is wrong")
        return entry

    def _damage(self, position: int, why: str) -> Corrupted:
        return Corrupted(f"{self._file.path}: entry {position} is damaged, {why}; restore it from a backup")

    # -- removing

    async def shorten(self, before: int, keep: Mapping[str, int], limit: int = 500) -> int:
        """Remove some entries below a position: of a kind those before a time, or at -1 all but each key's newest."""
        heads: list[Head] = []
        for kind, until in keep.items():
            if until >= 0:
                heads += self._old(kind, before, until, limit)
                continue
            if kind not in self._judged:  # an index that only this needs
                await self._group.add(lambda _: self._file.writer.execute(_KEYED), None)
            heads += self._doubles(kind, before, limit)
        if not heads:
            return 0
        reach("shorten.before")
        removed: int = await self._group.add(self._gaps.remove, heads)
        self._gaps.settle()
        reach("shorten.after")
        return removed

    def _old(self, kind: str, before: int, until: int, limit: int) -> list[Head]:
        rows = self._file.rows(_OLD, (kind, self._judged.get(kind, 0), before, limit))
        heads = list(takewhile(lambda head: head.at < until, (Head(*row) for row in rows)))
        if heads:
            self._judged[kind] = heads[-1].position + 1
        return heads

    def _doubles(self, kind: str, before: int, limit: int) -> list[Head]:
        rows = self._file.rows(_DOUBLES, (kind, self._judged.get(kind, 0), before, before, limit))
        # What stays now may be followed by a newer one: the next time begins at the first one again.
        self._judged[kind] = rows[-1][0] + 1 if rows else 0
        return [Head(*row) for row in rows]

    def removed(self) -> Mapping[str, Removed]:
        """Return what was removed so far, by kind."""
        return self._gaps.removed()

    def skip(self, origin: int) -> None:
        """Give no origin up to this one."""
        self._origin = max(self._origin, origin)

    def acknowledge(self, consumer: str, position: int) -> None:
        """Take the hint; every entry is kept, so there is nothing to do."""
        reach("acknowledge.before")
        reach("acknowledge.after")

    async def close(self) -> None:
        """Finish what is being written and release the file."""
        self.release()

    def release(self) -> None:
        """Finish what is being written and release the file."""
        self._group.close()
        self._file.close()


def entry_of(row: Any) -> Entry:
    """Return what a row of `entries` holds; whether its checksum is right has to be asked of `seal_of`."""
    position, partition, *fields, _ = row
    return Entry(position, partition, Envelope(*fields))


def seal_of(entry: Entry) -> int:
    """Return the checksum of an entry."""
    return crc32(encode(entry))
