"""History: what a host has kept in its folder, read beside it without its lock or a changed byte.

Of a durable host that is its log and its ledgers, one for each unit; of another one the decisions of its last run
that it had time to write. Not here: what may be in a page that a disk has damaged; the host itself checks that when
it opens its files.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.runtime.effects.letters import Found, Search, found, joined
from allotrope.runtime.homes import carrier_of
from allotrope.runtime.records import Record
from allotrope.runtime.telemetry import decisions
from allotrope.storage.ports import Envelope

_ENVELOPE = "kind,key,body,at,origin,path,request,tenant,trace,time"


class Kept(NamedTuple):
    """How many events and decision records there are, and the origins of the records."""

    events: int
    records: int
    first: int
    last: int


class History:
    """What happened in a folder; without files it is empty."""

    def __init__(self, folder: Path) -> None:
        """Open what there is, of the host that was here last."""
        self.folder = folder
        # A durable host removes this file at its start, so where it is, its host came after the durable one.
        passing = _opened(folder / decisions.FILE)
        self._log = passing or _opened(folder / "log.db")
        ledgers = (passing,) if passing else map(_opened, ledgers_in(folder))
        self._ledgers = tuple(ledger for ledger in ledgers if ledger is not None)
        self.counts = (
            None if passing is None else decisions.Counts(*_rows(passing, "SELECT * FROM counts")[0])
        )

    def __bool__(self) -> bool:
        """Return whether a host has left events and decisions here."""
        return self._log is not None and bool(self._ledgers)

    def records(self, origin: int) -> list[Record]:
        """Return the decision records of one input, in the order of paths."""
        sql = "SELECT path,consumer,body FROM record WHERE origin=?"
        found = sorted(row for ledger in self._ledgers for row in _rows(ledger, sql, origin))
        return [codec.decode(body, Record) for *_, body in found]

    def events(self, origin: int) -> list[Envelope]:
        """Return an input and the events that it led to, in the order of paths."""
        sql = f"SELECT {_ENVELOPE} FROM entries WHERE origin=? ORDER BY path"
        return [Envelope(*row) for row in _rows(self._log, sql, origin)]

    def of_request(self, request: str) -> list[int]:
        """Return the origins of the inputs that came with a request id."""
        sql = "SELECT origin FROM entries WHERE request=? AND path='' ORDER BY position"
        found = self._of_today(request) or _rows(self._log, sql, request)
        return [origin for (origin,) in found]

    def _of_today(self, request: str) -> list[Any]:
        """Return the same of a durable log's last day, whose names begin with the request id: no entry is read."""
        if self.counts is not None:
            return []
        first = codec.encode((request, "", ""))[:-2]
        sql = "SELECT origin FROM requests JOIN entries USING(position) WHERE name>? AND name<? ORDER BY position"
        return _rows(self._log, sql, first, first + b"\xff")

    def of_trace(self, prefix: str) -> list[int]:
        """Return the origins of inputs whose trace id begins with `prefix`."""
        sql = "SELECT DISTINCT origin FROM entries WHERE trace LIKE ? ORDER BY origin LIMIT 20"
        return [origin for (origin,) in _rows(self._log, sql, f"00-{prefix}%")]

    def of_key(self, key: str) -> list[int]:
        """Return the origins of inputs that are, or have led to, an event of this key, the newest first."""
        sql = "SELECT DISTINCT origin FROM entries WHERE key=? ORDER BY origin DESC"
        return [origin for (origin,) in _rows(self._log, sql, key)]

    def rows(self, table: str) -> list[tuple[str, bytes]]:
        """Return the rows of a component's table, `Component.table`, by key; of a durable host only."""
        sql = 'SELECT key,row FROM rows WHERE "table"=? ORDER BY key'
        ledgers = self._ledgers if self.counts is None else ()
        return [row for ledger in ledgers for row in _rows(ledger, sql, table)]

    def letters(self, search: Search) -> Found:
        """Return the parked keys and dead letters that somebody looks for; of a durable host only."""
        ledgers = self._ledgers if self.counts is None else ()
        sql = 'SELECT key,row FROM rows WHERE "table"=? ORDER BY key'
        return joined([found(partial(_rows, ledger, sql), search) for ledger in ledgers], search)

    def kind(self, origin: int) -> str:
        """Return what an input was, "" when it is not kept."""
        return next((event.kind for event in self.events(origin) if not event.path), "")

    def saw(self, origin: int, trace_id: str) -> bool:
        """Return whether a trace can be of this input, and not of one that had its origin in another life."""
        records = self.records(origin)
        return not records or any(record.trace[3:35] == trace_id for record in records)

    def kept(self) -> Kept:
        """Return how much there is."""
        ((events,),) = _rows(self._log, "SELECT count(*) FROM entries WHERE origin>0") or [(0,)]
        sql = "SELECT count(*),min(origin),max(origin) FROM record HAVING count(*)>0"
        found = [row for ledger in self._ledgers for row in _rows(ledger, sql)]
        counts, firsts, lasts = zip(*found, strict=True) if found else ((), (0,), (0,))
        return Kept(events, sum(counts), min(firsts), max(lasts))

    def removed(self, origin: int = 0) -> str:
        """Return what has left the log on purpose, "" when nothing has, or nothing that old; of an origin or of all."""
        if self.counts is not None or not _rows(self._log, "SELECT 1 FROM sqlite_schema WHERE name='gone'"):
            return ""
        ((entries, last),) = _rows(
            self._log, "SELECT (SELECT sum(entries) FROM gone),(SELECT max(last) FROM gaps)"
        )
        ((first,),) = _rows(self._log, "SELECT min(position) FROM entries WHERE origin=?", origin)
        if not entries or (first or 0) > last:
            return ""
        about = f"the events of input {origin} may be among them" if origin else "their decisions may be kept"
        return (
            f"{entries:,} entries of finished inputs have left the log, as `keep` or `compact` says; {about}"
        )

    def passed_over(self) -> str:
        """Return how many decisions were not written and why, or "" when all of them were."""
        if self.counts is None or self.counts.made == self.counts.written:
            return ""
        topology, made, written = self.counts
        return (
            f"{made - written:,} of {made:,} decisions were passed over: {topology} keeps nothing durable, and writes "
            f"{decisions.PER_SECOND:,} a second for a look, those with a trace first. modular-monolith keeps them all"
        )

    def elsewhere(self) -> str:
        """Return which server has the events, "" where they are here."""
        carrier = carrier_of(self.folder)
        return (
            f"the events are in {carrier.kind}, at {carrier.place}: they are not read from there"
            if carrier
            else ""
        )

    def close(self) -> None:
        """Close the files."""
        for connection in {self._log, *self._ledgers}:
            if connection is not None:
                connection.close()


def ledgers_in(folder: Path) -> list[Path]:
    """Return where ledgers may be: the host's own, and those of its units; not of an app that lives below."""
    units = sorted(folder.glob("*/ledger.db"))
    return [folder / "ledger.db", *(path for path in units if not path.with_name("log.db").exists())]


def _opened(path: Path) -> apsw.Connection | None:
    if not path.is_file():
        return None
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(2000)
    except apsw.Error as error:
        raise Refused(
            f"{path}: cannot be read ({error}); let this user read its folder, and write there too"
        ) from None
    return connection


def _rows(connection: apsw.Connection | None, sql: str, *bindings: Any) -> list[Any]:
    if connection is None:
        return []
    try:
        return connection.execute(sql, bindings).fetchall()
    except apsw.Error as error:
        path = connection.filename
        raise Refused(
            f"{path}: cannot be read ({error}); start the app with this folder, it says more"
        ) from None
