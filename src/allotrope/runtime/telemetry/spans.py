"""The span store: the newest spans of a host in `traces.db`, read by other processes while it runs.

Spans are for looking, not for answers: losing some is no fault, so nothing is synced, and what is damaged is
begun anew. Not here: decision records, which are committed with their effect.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

import apsw

from allotrope.kernel.errors import Refused
from allotrope.runtime.tracing import Span

log = logging.getLogger("allotrope.traces")
FILE = "traces.db"
MOST, MOST_IN_MEMORY = 200_000, 20_000
OPENING_S = 5.0  # how long other processes may take
_VERSION = 3
_SCHEMA = f"""
CREATE TABLE spans(number INTEGER PRIMARY KEY, trace_id TEXT NOT NULL, span_id TEXT NOT NULL,
  parent_id TEXT NOT NULL, name TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
  status TEXT NOT NULL, origin INTEGER NOT NULL, path TEXT NOT NULL, request TEXT NOT NULL,
  place TEXT NOT NULL, links TEXT NOT NULL) STRICT;
CREATE INDEX spans_trace ON spans(trace_id);
CREATE INDEX spans_origin ON spans(origin) WHERE origin>0;
CREATE INDEX spans_request ON spans(request) WHERE request<>'';
CREATE TABLE drops(ring INTEGER NOT NULL, aged INTEGER NOT NULL) STRICT;
INSERT INTO drops VALUES(0, 0);
PRAGMA user_version={_VERSION}
"""
_FIELDS = "trace_id,span_id,parent_id,name,start_ns,end_ns,status,origin,path,request,place,links"
# Numbers have no gaps: only the oldest spans are deleted. Counting them would take longer with each.
_HELD = "SELECT coalesce((SELECT max(number) FROM spans)-(SELECT min(number) FROM spans)+1, 0)"
_INSERT = f"INSERT INTO spans({_FIELDS}) VALUES(?,?,?,?,?,?,?,?,?,?,?,?)"


class Kept(NamedTuple):
    """How much a store holds, and what it does not hold any more."""

    spans: int
    traces: int
    overflowed: int  # the host made more than could be carried away in time
    aged: int  # the oldest made room


class Spans:
    """Reads spans from an open store."""

    def __init__(self, connection: apsw.Connection) -> None:
        """Read over `connection`."""
        self._connection = connection
        self._busy = threading.Lock()  # of a store in memory: one thread writes while another reads

    @classmethod
    def of(cls, folder: Path) -> "Spans | None":
        """Return the spans of a host's folder, None when it keeps none. Refused when they cannot be read."""
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            connection.set_busy_timeout(1000)
            found = connection.pragma("user_version")
        except apsw.Error as error:
            raise Refused(
                f"{path}: cannot be read ({error}); traces are expendable, so it may be deleted"
            ) from None
        if found != _VERSION:
            raise Refused(
                f"{path}: written by another version of allotrope; read it with that one, or delete it"
            )
        return cls(connection)

    def _rows(self, sql: str, *bindings: Any) -> list[Any]:
        with self._busy:
            return self._connection.execute(sql, bindings).fetchall()

    def trace(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace by their start."""
        rows = self._rows(f"SELECT {_FIELDS} FROM spans WHERE trace_id=? ORDER BY start_ns,number", trace_id)
        return [_span(*row) for row in rows]

    def begun_by(self, prefix: str) -> list[str]:
        """Return the ids of at most 20 traces that begin with `prefix`, in their order."""
        sql = (
            "SELECT DISTINCT trace_id FROM spans WHERE trace_id>=? AND trace_id<=? ORDER BY trace_id LIMIT 20"
        )
        return [trace for (trace,) in self._rows(sql, prefix, prefix + "g")]

    def of_origin(self, origin: int) -> list[str]:
        """Return the ids of the traces that served an input, the newest first."""
        return self._newest("origin=? AND origin>0", origin)

    def of_request(self, request: str) -> list[str]:
        """Return the ids of the traces that served a request id, the newest first."""
        return self._newest("request=? AND request<>''", request)

    def _newest(self, which: str, value: Any) -> list[str]:
        sql = (
            f"SELECT trace_id FROM spans WHERE {which} GROUP BY trace_id ORDER BY max(start_ns) DESC LIMIT 20"
        )
        return [trace for (trace,) in self._rows(sql, value)]

    def newest(self, count: int) -> list[str]:
        """Return the ids of the traces that ended last, the oldest of them first."""
        sql = "SELECT trace_id FROM spans GROUP BY trace_id ORDER BY max(number) DESC LIMIT ?"
        return [trace for (trace,) in reversed(self._rows(sql, count))]

    def kept(self) -> Kept:
        """Return how much there is."""
        ((spans, traces),) = self._rows("SELECT count(*),count(DISTINCT trace_id) FROM spans")
        ((ring, aged),) = self._rows("SELECT ring,aged FROM drops")
        return Kept(spans, traces, ring, aged)

    def close(self) -> None:
        """Close the file."""
        with self._busy:
            self._connection.close()


def _span(trace_id: str, span_id: str, parent_id: str, *rest: Any) -> Span:
    found = Span(int(trace_id, 16), int(span_id, 16), int(parent_id, 16), *rest[:-1])
    found.links = tuple(rest[-1].split())
    return found


class SpanStore(Spans):
    """Keeps the newest `most` spans, in `folder` or, without one, in memory. A sink of the host."""

    def __init__(self, folder: Path | None, most: int | None = None) -> None:
        """Open or create it; a file that is damaged or of another version is begun anew."""
        self.path = None if folder is None else folder / FILE
        self.most = most or (MOST_IN_MEMORY if folder is None else MOST)
        if folder is not None:
            folder.mkdir(0o700, parents=True, exist_ok=True)
        try:
            super().__init__(self._opened())
        except (apsw.CorruptError, apsw.NotADBError, _OtherVersion) as error:
            log.warning("%s: begun anew, the traces in it are gone: %s", self.path, error)
            for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
                (folder or Path()).joinpath(name).unlink(missing_ok=True)
            super().__init__(self._opened())

    def _opened(self) -> apsw.Connection:
        try:
            connection = apsw.Connection(":memory:" if self.path is None else str(self.path))
        except apsw.CantOpenError:
            raise Refused(f"{self.path}: let this user write there, or name another folder") from None
        try:
            connection.set_busy_timeout(1000)
            _write_ahead(connection)
            connection.pragma("synchronous", "normal")
            connection.execute("BEGIN IMMEDIATE")  # several processes may come to a new folder at once
            version = connection.pragma("user_version")
            if version == 0:
                connection.execute(_SCHEMA)
            connection.execute("COMMIT")
            if version not in (0, _VERSION):
                raise _OtherVersion(f"it has format {version}, this allotrope writes {_VERSION}")
        except BaseException:
            connection.close()
            raise
        return connection

    def keep(self, spans: Sequence[Span], dropped: int = 0) -> None:
        """Store spans, and make room when there are too many."""
        rows = [
            (
                f"{span.trace_id:032x}", f"{span.span_id:016x}", f"{span.parent_id:016x}", span.name,
                span.start_ns, span.end_ns, span.status, span.origin, span.path, span.request, span.place,
                " ".join(span.links),
            )
            for span in spans
        ]  # fmt: skip
        with self._busy, self._connection as connection:
            connection.executemany(_INSERT, rows)
            ((held,),) = connection.execute(_HELD)
            aged = self._make_room(connection) if held > self.most + self.most // 100 else 0
            if dropped or aged:
                connection.execute("UPDATE drops SET ring=ring+?,aged=aged+?", (dropped, aged))

    def _make_room(self, connection: apsw.Connection) -> int:
        connection.execute("DELETE FROM spans WHERE number<=(SELECT max(number) FROM spans)-?", (self.most,))
        return connection.changes()


def _write_ahead(connection: apsw.Connection) -> None:
    """Have a log written ahead. SQLite does not wait when several processes turn to it in a new file at once."""
    until = monotonic() + OPENING_S
    while True:
        try:
            connection.pragma("journal_mode", "wal")
            return
        except apsw.BusyError:
            if monotonic() > until:
                raise
            sleep(0.002)


class _OtherVersion(Exception):
    """The file was written by another version."""
