"""Decisions of a host that keeps nothing durable: the newest in memory and, given a folder, in `decisions.db`.

They are for looking, not for answers: written in batches by the thread that carries spans, never waited for,
bounded in rate and number. What was passed over is counted. Not here: durable records, which are committed.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Fault
from allotrope.runtime.tracing import Span

FILE = "decisions.db"
NEWEST = 1_000  # in memory, and as many again of those that somebody will ask for
FEW = (
    100  # where they go nowhere: an old one that is pushed out has left the cache, and to free it costs 4 us
)
MOST = 50_000  # on disk
PER_SECOND = 500  # to disk, beyond the first BURST: 16 us each, so under 1% of one core
BURST = 5_000
# `entries` is read as the log of a durable host would be; an event that nobody took is not in it.
_SCHEMA = """
CREATE TABLE record(number INTEGER PRIMARY KEY, origin INTEGER NOT NULL, path TEXT NOT NULL,
  consumer TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, at INTEGER NOT NULL, request TEXT NOT NULL,
  tenant TEXT NOT NULL, trace TEXT NOT NULL, time INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX record_origin ON record(origin);
CREATE VIEW entries AS SELECT DISTINCT origin AS position, kind, key, x'' AS body, at, origin, path, request,
  tenant, trace, time FROM record;
CREATE TABLE counts(topology TEXT NOT NULL, made INTEGER NOT NULL, written INTEGER NOT NULL) STRICT;
PRAGMA user_version=1
"""
_INSERT = """INSERT INTO record(origin,path,consumer,kind,key,at,request,tenant,trace,time,body)
  VALUES(?,?,?,?,?,?,?,?,?,?,?)"""


class Counts(NamedTuple):
    """How many decisions the last host under `topology` made, and how many of them were written."""

    topology: str
    made: int
    written: int


class Recent:
    """The newest decisions in memory. Those that were traced, and those that failed, are not pushed out by others."""

    def __init__(self, newest: int = FEW) -> None:
        """Begin with none."""
        self.made = 0
        self.newest: deque[Any] = deque(maxlen=newest)
        self.marked: deque[Any] = deque(maxlen=NEWEST)

    def add(self, ended: Any) -> None:
        """Take note of a decision that has ended. This is on the path of every decision: nothing is encoded."""
        self.made += 1
        error = ended.error
        if ended.call.trace is None and (error is None or isinstance(error, Fault)):
            self.newest.append(ended)
        else:
            self.marked.append(ended)

    def clear(self) -> None:
        """Forget them."""
        self.newest.clear()
        self.marked.clear()


class DecisionStore(Recent):
    """Recent decisions that go to a folder as well. A sink of the host; it has no use for the spans."""

    def __init__(self, folder: Path, topology: str, most: int = MOST) -> None:
        """Begin anew: origins of a host that keeps nothing begin anew, too. Refused when it cannot be written."""
        super().__init__(NEWEST)
        self.path, self.most = folder / FILE, most
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
            forget(folder)
            self._connection = apsw.Connection(str(self.path))
            self._connection.set_busy_timeout(1000)
            self._connection.pragma("journal_mode", "wal")
            self._connection.pragma("synchronous", "off")
            with self._connection:
                self._connection.execute(_SCHEMA)
                self._connection.execute("INSERT INTO counts VALUES(?,0,0)", (topology,))
        except (OSError, apsw.Error) as error:
            raise Refused(
                f"{self.path}: {error}; let this user write there, or name another folder"
            ) from None
        self._written = self._aged = 0
        self._room, self._filled = float(BURST), time.monotonic()

    def keep(self, spans: Sequence[Span], dropped: int) -> None:
        """Write what was decided since the last time, as far as the rate allows: the marked, then the newest."""
        now = time.monotonic()
        self._room = min(BURST, self._room + (now - self._filled) * PER_SECOND)
        self._filled = now
        made = self.made  # before the decisions are taken out: it must not lag behind `written`
        found = [*_emptied(self.marked), *reversed(_emptied(self.newest))][: int(self._room)]
        self._room -= len(found)
        written = self._written + len(found)
        with self._connection as connection:
            connection.executemany(_INSERT, self._rows(found))
            connection.execute("UPDATE counts SET made=?,written=?", (max(made, written), written))
            if written - self._aged > self.most + self.most // 100:
                connection.execute("DELETE FROM record WHERE number<=?", (written - self.most,))
                self._aged = written - self.most
        self._written = written

    def _rows(self, decided: list[Any]) -> Iterator[tuple[Any, ...]]:
        # One by one, between two steps of SQLite, which let the event loop in: encoding them all would stall it.
        for ended in decided:
            record, envelope = ended.record(), ended.delivery.envelope
            yield (
                record.origin, record.path, record.title, record.kind, envelope.key, envelope.at, record.request,
                record.tenant, record.trace[:35], envelope.time, codec.encode(record),
            )  # fmt: skip

    def close(self) -> None:
        """Write the rest and close the file."""
        try:
            self.keep((), 0)
        finally:
            self._connection.close()


def _emptied(ring: deque[Any]) -> list[Any]:
    # The event loop goes on appending; what comes after this count waits for the next time.
    found = []
    for _ in range(len(ring)):
        try:
            found.append(ring.popleft())
        except IndexError:  # it was cleared meanwhile
            break
    return found


def forget(folder: Path) -> None:
    """Remove what an earlier host without durability has left: its origins would be taken for those of the next."""
    for ending in ("", "-wal", "-shm"):
        (folder / f"{FILE}{ending}").unlink(missing_ok=True)
