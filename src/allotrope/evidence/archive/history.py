"""History: what a durable host has kept in its folder, read beside it without its lock or a changed byte.

Not here: what may be in a page that a disk has damaged; the host itself checks that when it opens its files.
"""

from pathlib import Path
from typing import Any, NamedTuple

import apsw

from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.runtime.records import Record
from allotrope.storage.ports import Envelope

_ENVELOPE = "kind,key,body,at,origin,path,request,tenant,trace,time"


class Kept(NamedTuple):
    """How many events and decision records there are, and the origins of the records."""

    events: int
    records: int
    first: int
    last: int


class History:
    """The log and the ledger in a folder; without files it is empty."""

    def __init__(self, folder: Path) -> None:
        """Open what there is."""
        self.folder = folder
        self._log = _opened(folder / "log.db")
        self._ledger = _opened(folder / "ledger.db")

    def __bool__(self) -> bool:
        """Return whether a durable host has been here."""
        return self._log is not None and self._ledger is not None

    def records(self, origin: int) -> list[Record]:
        """Return the decision records of one input, in the order of paths."""
        sql = "SELECT body FROM record WHERE origin=? ORDER BY path,consumer"
        return [codec.decode(body, Record) for (body,) in _rows(self._ledger, sql, origin)]

    def events(self, origin: int) -> list[Envelope]:
        """Return an input and the events that it led to, in the order of paths."""
        # A position is never smaller than the origin it was given: so the log is not read from its beginning.
        sql = f"SELECT {_ENVELOPE} FROM entries WHERE position>=? AND origin=? ORDER BY path"
        return [Envelope(*row) for row in _rows(self._log, sql, origin, origin)]

    def of_request(self, request: str) -> list[int]:
        """Return the origins of the inputs that came with a request id."""
        sql = "SELECT origin FROM entries WHERE request=? AND path='' ORDER BY position"
        return [origin for (origin,) in _rows(self._log, sql, request)]

    def of_trace(self, prefix: str) -> list[int]:
        """Return the origins of inputs whose trace id begins with `prefix`."""
        sql = "SELECT DISTINCT origin FROM entries WHERE trace LIKE ? ORDER BY origin LIMIT 20"
        return [origin for (origin,) in _rows(self._log, sql, f"00-{prefix}%")]

    def kept(self) -> Kept:
        """Return how much there is."""
        ((events,),) = _rows(self._log, "SELECT count(*) FROM entries") or [(0,)]
        found = _rows(
            self._ledger, "SELECT count(*),coalesce(min(origin),0),coalesce(max(origin),0) FROM record"
        )
        return Kept(events, *(found[0] if found else (0, 0, 0)))

    def close(self) -> None:
        """Close the files."""
        for connection in (self._log, self._ledger):
            if connection is not None:
                connection.close()


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
