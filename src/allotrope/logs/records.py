"""Records: how a server keeps an entry of the log, and what its one writer has to know to write the next one.

A record holds an entry and what came with it, under a checksum; each thousandth, and the first one, also holds the
state before it: so whoever opens the log reads its end, and not all of it. Not here: the servers.
"""

from collections.abc import Sequence
from zlib import crc32

import apsw
import msgspec

from allotrope.kernel.codec import decode, encode
from allotrope.kernel.errors import Corrupted, Refused
from allotrope.storage.partitions import partition_of
from allotrope.storage.ports import Entry, Envelope

DAY = 86_400_000_000  # microseconds
EVERY = 1000  # positions from one record with a state to the next
_PRUNE_EVERY = 1000  # new request ids
LEAP = 1_000_000_000  # by which a ledger numbers on that may have lost its newest numbers
RESTORE = "restore the server's data"
_SEAL = 4  # bytes of a record that are its checksum
Name = tuple[str, str, str]  # of a request: its id, tenant and kind


class State(msgspec.Struct, array_like=True):
    """What the writer of a log goes on from: its newest origin, and the highest number stored of each source."""

    partitions: int
    owner: str
    origin: int = 0
    marks: dict[str, int] = {}
    doubtful: int = 0  # up to this origin, the events of the relay may be here already, under other numbers

    def copy(self) -> "State":
        """Return it as it is now."""
        return State(self.partitions, self.owner, self.origin, dict(self.marks), self.doubtful)


class Record(msgspec.Struct, frozen=True, array_like=True):
    """An entry as a server keeps it."""

    position: int
    envelope: Envelope
    written: int  # microseconds since 1970; never less than that of the record before
    source: str = ""  # of a derived event: whose outbox it was in, and under which number
    number: int = 0
    before: State | None = None

    def entry(self, partitions: int) -> Entry:
        """Return it as the log gives it out."""
        return Entry(self.position, partition_of(self.envelope.key, partitions), self.envelope)


def sealed(record: Record) -> bytes:
    """Return a record with its checksum."""
    data = encode(record)
    return crc32(data).to_bytes(_SEAL, "big") + data


def opened(position: int, data: bytes, place: str) -> Record:
    """Return what a server kept at a position. Corrupted when it is not what was stored there."""
    if int.from_bytes(data[:_SEAL], "big") != crc32(data[_SEAL:]):
        raise Corrupted(f"{place}: entry {position} is damaged, its checksum is wrong; {RESTORE}")
    record: Record = decode(data[_SEAL:], Record)
    if record.position != position:
        raise Corrupted(f"{place}: entry {position} is missing, {record.position} stands there; {RESTORE}")
    return record


def agreed(found: State, wanted: State, place: str) -> None:
    """Refuse a log of another app, or with its keys in other partitions."""
    if found.owner != wanted.owner:
        raise Refused(
            f"{place}: the log there is of the app `{found.owner}`, and `{wanted.owner}` would take up its events; "
            "give this one another `name` in [log]"
        )
    if found.partitions != wanted.partitions:
        raise Refused(
            f"{place}: has {found.partitions} partitions, {wanted.partitions} were asked for: keys would change "
            f"place and lose their order; ask for {found.partitions}, or give this log another `name` in [log]"
        )


class Requests:
    """The request ids of a day, and where each was stored.

    They lie in a temporary file of SQLite: a day may bring more than memory should hold. It is no store: whoever
    opens the log builds it from the records.
    """

    def __init__(self) -> None:
        """Know none."""
        self._file = apsw.Connection("")  # a file without a name: it is gone with the process
        for line in (
            "PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF",
            "CREATE TABLE events(origin INTEGER, path TEXT, PRIMARY KEY(origin, path)) WITHOUT ROWID",
            "CREATE TABLE requests(position INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, at INTEGER NOT NULL)",
        ):  # fmt: skip
            self._file.execute(line)
        self._fresh = 0

    def find(self, given: Envelope) -> int | None:
        """Return where this request was stored within a day before."""
        select = "SELECT position,at FROM requests WHERE name=?"
        for position, at in self._file.execute(select, (_name(given),)):
            if at > given.at - DAY:
                return int(position)
        return None

    def add(self, position: int, given: Envelope) -> None:
        """Remember a request; some of those that are too old are forgotten."""
        row = (position, _name(given), given.at)
        self._file.execute("INSERT OR REPLACE INTO requests VALUES(?,?,?)", row)
        self._fresh += 1
        if self._fresh % _PRUNE_EVERY == 0:
            self._file.execute(
                "DELETE FROM requests WHERE position<"
                "coalesce((SELECT position FROM requests WHERE at>? ORDER BY position LIMIT 1),9e18)",
                (given.at - DAY,),
            )

    def forget_after(self, position: int) -> None:
        """Forget those that were not stored after all."""
        self._file.execute("DELETE FROM requests WHERE position>?", (position,))

    def store(self, derived: Envelope) -> None:
        """Remember an event of the relay: only those of doubtful origins are."""
        self._file.execute("INSERT OR IGNORE INTO events VALUES(?,?)", (derived.origin, derived.path))

    def stored(self, derived: Envelope) -> bool:
        """Return whether an event of the relay is remembered."""
        found = self._file.execute(
            "SELECT 1 FROM events WHERE origin=? AND path=?", (derived.origin, derived.path)
        )
        return bool(found.fetchall())

    def close(self) -> None:
        """Drop the file."""
        self._file.close()


def _name(given: Envelope) -> bytes:
    return encode((given.request, given.tenant, given.kind))


def same(kept: Sequence[tuple[int, bytes]], records: Sequence[bytes]) -> bool:
    """Return whether what a server has is the beginning of what was sent."""
    return len(kept) <= len(records) and all(
        data == sent for (_, data), sent in zip(kept, records, strict=False)
    )
