"""One SQLite file with one writer, opened so that it keeps its durability and finds its own damage.

Each page carries a checksum (SQLite's cksumvfs): a flipped bit is an error, never a wrong or a missing row.
Not here: what the tables mean.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import apsw
import apsw.sqlite_extra

from allotrope.kernel.errors import Corrupted, Lost, Refused
from allotrope.kernel.tables import Durability
from allotrope.storage import journal
from allotrope.storage.locks import Lock, holder
from allotrope.storage.points import reach

R = TypeVar("R")
_CHECKED = "cksmvfs"
_PAGE = 4096
_RESERVED = 8  # bytes of each page that hold its checksum
_SYNCHRONOUS = {"process": 1, "power": 2}
CHECKPOINT_PAGES = 1000
_VERSION = 2


class Database:
    """An open file: one connection writes, and where that is done in a thread, another one reads."""

    def __init__(
        self, path: Path, schema: str, durability: Durability, mend: str = "", *, shared: bool = False
    ) -> None:
        """Open it, or create it with `schema`.

        When the power was cut on it at durability `process`, commits may be gone that another file has heard
        of: then `mend` is run, once, to name nothing new as they were named. Where it is `shared`, the first
        of several processes does all this, and the others come after it.

        Raises Refused when another instance holds it or the durability cannot be had, Corrupted when damaged.
        """
        if durability not in _SYNCHRONOUS:
            raise Refused(f"{path}: durability {durability!r} is not for a file; use `process` or `power`")
        self.path, self.durability = path, durability
        self.stopped = ""  # why nothing is written any more
        self._next_checkpoint = CHECKPOINT_PAGES
        self._pages = 0
        self._connections: list[apsw.Connection] = []
        _make_folder(path.parent)
        self._lock = Lock(path, shared=shared)
        try:
            promised = self._promised() if self._lock.first else 0
            self.writer = self._connect()
            self._compare(promised)
            self._create(schema)
            if mend and self._lock.first and self._lock.state == "process" and not self._lock.same_boot:
                self.write(lambda: self.writer.execute(mend))
            self.reader = self._connect() if durability == "power" else self.writer
        except BaseException as error:
            for connection in self._connections:
                connection.close()
            self._lock.release()
            if isinstance(error, apsw.Error):
                raise self.fault(error, "opening") from error
            raise
        self.writer.set_wal_hook(self._count)
        self.writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        self._lock.mark(durability)
        self._lock.admit()

    # -- opening

    def _promised(self) -> int:
        """Return how many frames of the write-ahead file have to be recovered."""
        ahead = self.path.with_name(f"{self.path.name}-wal")
        size, more = (place.stat().st_size if place.exists() else 0 for place in (self.path, ahead))
        if not size:
            if self._lock.state or more:
                raise Corrupted(
                    f"{self.path}: missing or empty, though it was written before; restore it from a backup, "
                    f"or delete {self._lock.path.name} and {ahead.name} too to start anew"
                )
            return 0
        if size % _PAGE and (
            self._lock.same_boot or not more
        ):  # SQLite would take the missing part for zeros
            raise Corrupted(f"{self.path}: cut off in a page, at {size} bytes; restore it from a backup")
        ends = journal.commits(ahead)
        if ends is None and self._lock.same_boot:
            raise Corrupted(f"{ahead}: its header is damaged; restore {self.path.name} from a backup")
        # While the machine runs, nothing written is lost. After a power cut the last commit may be torn, and
        # was not acknowledged. At durability `process` others may be missing too: that is what it says.
        if self._lock.same_boot:
            return ends[-1] if ends else 0
        return ends[-2] if ends and len(ends) > 1 and self.durability == "power" else 0

    def _connect(self) -> apsw.Connection:
        _load_checksums()
        connection = apsw.Connection(os.fspath(self.path), vfs=_CHECKED)
        self._connections.append(connection)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # a damaged file is left as it was found
        connection.set_busy_timeout(5000)
        if not connection.pragma("page_count"):
            connection.pragma("page_size", _PAGE)
            connection.reserve_bytes("main", _RESERVED)
        wanted = _SYNCHRONOUS[self.durability]
        connection.wal_autocheckpoint(0)  # SQLite's own would swallow a failed fsync
        journal_mode = connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", wanted)
        checked = int(connection.pragma("checksum_verification") or 0)
        found = (journal_mode, connection.pragma("synchronous"), checked)
        if not checked and self._lock.state:
            raise Corrupted(f"{self.path}: its first page is damaged; restore it from a backup")
        if found != ("wal", wanted, 1):
            raise Refused(
                f"{self.path}: durability `{self.durability}` cannot be had here: journal_mode, synchronous "
                f"and checksum_verification are {found}; use a local disk, and a file that allotrope has made"
            )
        return connection

    def _compare(self, promised: int) -> None:
        recovered, _ = self.writer.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
        if recovered < promised:
            raise Corrupted(
                f"{self.path}-wal: damaged after frame {max(recovered, 0)} of {promised}: commits would be "
                f"lost; nothing was changed. Restore {self.path.name} from a backup"
            )

    def _create(self, schema: str) -> None:
        version = self.writer.pragma("user_version")
        if version == 0:
            self.write(lambda: self.writer.execute(f"{schema};PRAGMA user_version={_VERSION}"))
        elif version != _VERSION:
            raise Refused(
                f"{self.path}: has format {version}, not {_VERSION}; use the allotrope that wrote it"
            )

    def belong(self, owner: str) -> None:
        """Keep the name of the first app that comes, so that no other takes up what it has begun; "" is no app."""
        if not owner:
            return
        if not self.pending("SELECT 1 FROM sqlite_schema WHERE name='owner'"):
            create = "CREATE TABLE owner(app TEXT NOT NULL) STRICT; INSERT INTO owner VALUES(?)"
            self.write(lambda: self.writer.execute(create, (owner,)))
        ((found,),) = self.pending("SELECT app FROM owner")
        if found != owner:
            raise Refused(
                f"{self.path.parent}: {self.path.name} there is of the app `{found}`, and `{owner}` would take up "
                f"its events; give `{owner}` another folder, or if it is the same app, its old name"
            )

    # -- use

    def rows(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        """Return committed rows."""
        try:
            return self.reader.execute(sql, bindings).fetchall()
        except apsw.Error as error:
            raise self.fault(error, f"reading {bindings}") from error

    def pending(self, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        """Return rows as the transaction at work sees them."""
        return self.writer.execute(sql, bindings).fetchall()

    def write(self, work: Callable[[], R]) -> R:
        """Return what `work` returns, once all that it wrote holds; nothing of it is left when it raises.

        Raises Refused when the disk is full, Lost when the disk fails: then nothing is written any more.
        """
        if self.stopped:
            raise Refused(self.stopped)
        execute = self.writer.execute
        try:
            execute("BEGIN IMMEDIATE")
            result = work()
            execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, apsw.Error):
                raise self.fault(error, "writing") from error
            raise
        if self._pages >= self._next_checkpoint:
            self.checkpoint()
        return result

    def _roll_back(self) -> None:
        try:
            if self.writer.in_transaction:
                self.writer.execute("ROLLBACK")
        except apsw.Error as error:
            self._stop(error)

    def checkpoint(self) -> None:
        """Copy commits from the write-ahead file to the main one. Should it fail, nothing is lost."""
        reach("checkpoint.before")
        try:
            self.writer.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._next_checkpoint = CHECKPOINT_PAGES
        except (apsw.FullError, apsw.BusyError):  # no room, or another process is at it
            self._next_checkpoint = self._pages + CHECKPOINT_PAGES  # it stays where it is; try again later
        except apsw.Error as error:
            self._stop(error)
        reach("checkpoint.after")

    def _count(self, _connection: apsw.Connection, _schema: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def close(self) -> None:
        """Close the file and let another instance in."""
        clean = not self.stopped
        self.stopped = self.stopped or f"{self.path}: it is closed; open it again"
        for connection in reversed(self._connections):
            try:
                connection.close()
            except apsw.Error as error:  # what was committed is in the write-ahead file
                clean = False
                self._stop(error)
        if clean and self._lock.alone():
            self._lock.mark("closed")
        self._lock.release()

    # -- errors

    def fault(self, error: apsw.Error, doing: str) -> Exception:
        """Return what an error of SQLite means to the caller."""
        code = getattr(error, "extendedresult", 0)
        if isinstance(error, apsw.ConnectionClosedError):
            return Refused(self.stopped or f"{self.path}: it is closed; open it again")
        if isinstance(error, apsw.FullError):
            return Refused(
                f"{self.path}: the disk is full; nothing of this was stored. Free space, repeat", 5.0
            )
        if isinstance(error, apsw.BusyError):
            return Refused(
                f"{self.path}: other processes were writing all the time; nothing was stored", 0.05
            )
        if isinstance(error, apsw.CorruptError | apsw.NotADBError) or code == apsw.SQLITE_IOERR_DATA:
            return Corrupted(f"{self.path}: damaged, found while {doing} ({error}); restore it from a backup")
        if isinstance(error, apsw.CantOpenError | apsw.ReadOnlyError | apsw.PermissionsError):
            return Refused(f"{self.path}: {error}, while {doing}; let this user write it and its folder")
        if isinstance(error, apsw.IOError):
            self._stop(error)
            return Lost(f"{self.stopped} Whether the last write took effect is known after that")
        return Refused(f"{self.path}: {error}, while {doing}")

    def _stop(self, error: apsw.Error) -> None:
        code = getattr(error, "extendedresult", 0)
        name = apsw.mapping_extended_result_codes.get(code, "")
        self.stopped = (
            f"{self.path}: the disk failed ({error} {name}); nothing is written any more, since a failed "
            "write must not be taken for done. Mend the disk and start again."
        )


def look(path: Path, *, still: bool = False) -> apsw.Connection:
    """Return a connection to a file beside whoever writes it, which leaves what it finds; it may hold writers up.

    Where it is `still`, nobody writes it, and nothing is made beside it. Every page that is read is checked.

    Raises Corrupted when it does not begin like a file of ours or its write-ahead file is damaged, apsw.Error.
    """
    _load_checksums()
    flags = apsw.SQLITE_OPEN_URI | (apsw.SQLITE_OPEN_READONLY if still else apsw.SQLITE_OPEN_READWRITE)
    ahead = path.with_name(f"{path.name}-wal")
    left = not still and ahead.exists() and ahead.stat().st_size > 0
    promised = journal.commits(ahead) if left and not holder(path) else []
    name = f"file:{quote(os.fspath(path.absolute()))}{'?immutable=1' if still else ''}"
    connection = apsw.Connection(name, flags=flags, vfs=_CHECKED)
    try:
        connection.config(
            apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(left)
        )  # what a crash left stays as it is
        connection.set_busy_timeout(20_000)
        if not still:
            connection.wal_autocheckpoint(0)
        version = connection.pragma("user_version")
        if not int(connection.pragma("checksum_verification") or 0) or version != _VERSION:
            raise Corrupted(f"{path}: its first page is damaged, or it is no file of this allotrope")
        if promised is None:
            raise Corrupted(f"{ahead}: its header is damaged: commits would be lost")
        if promised:
            found, _ = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
            if found < promised[-1] and not holder(path):
                raise Corrupted(f"{ahead}: damaged after frame {max(found, 0)} of {promised[-1]}")
    except BaseException:
        connection.close()
        raise
    return connection


def blank(path: Path) -> apsw.Connection:
    """Return a connection to a new file of the same form, whose pages get checksums; nothing reads it meanwhile."""
    _load_checksums()
    path.touch(0o600, exist_ok=False)
    connection = apsw.Connection(os.fspath(path), vfs=_CHECKED)
    connection.pragma("page_size", _PAGE)
    connection.reserve_bytes("main", _RESERVED)
    connection.pragma("journal_mode", "off")  # should this process end, so does what it was making
    connection.pragma("synchronous", 2)
    # Once the first page is there. Before, pages that the cache has no room for would go to disk without a checksum;
    # and those that come from a write-ahead file have none to take over.
    connection.execute(f"PRAGMA user_version={_VERSION}")
    return connection


def synced(folder: Path) -> None:
    """Return once a folder, and the files in it, are on disk."""
    for place in (*(path for path in folder.rglob("*") if path.is_file()), folder):
        handle = os.open(place, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _load_checksums() -> None:
    if _CHECKED in apsw.vfs_names():
        return
    try:
        apsw.sqlite_extra.load(apsw.Connection(":memory:"), "cksumvfs")
    except apsw.sqlite_extra.NotAvailable:
        raise Refused("this build of apsw has no `cksumvfs`; install the wheel that apsw publishes") from None


def _make_folder(folder: Path) -> None:
    """Create a folder so that it is there after a power cut too."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(0o700, parents=True, exist_ok=True)
    for place in missing:
        handle = os.open(place.parent, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
