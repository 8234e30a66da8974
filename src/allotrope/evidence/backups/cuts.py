"""Cuts: all files of one app as they were at one instant, read beside it while it serves.

A cut is what a kill -9 at that instant would have left, so that an ordinary start takes it up: no ledger is ahead of
the log, none is behind another, no checkpoint is behind what has left the log. Files read one after the other would
not do: the floor of one ledger speaks for the effects in all of them.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import apsw

from allotrope.evidence.archive.history import ledgers_in
from allotrope.kernel.errors import Corrupted, Refused
from allotrope.runtime.homes import carrier_of
from allotrope.storage.checkpoints import NAMES
from allotrope.storage.files import look

LOG = "log.db"
LEDGER = "ledger.db"
Told = Callable[[str, int, int], None]  # what is at work, how far it is, of how much


class Cut:
    """The files of one app that can be read, by name, and of the others why not."""

    def __init__(
        self, files: dict[str, apsw.Connection], faults: dict[str, str], held_ms: float = 0.0
    ) -> None:
        """Take what was opened; writers were held up for `held_ms`."""
        self.files, self.faults, self.held_ms = files, faults, held_ms

    @property
    def log(self) -> apsw.Connection | None:
        """Return the log."""
        return self.files.get(LOG)

    @property
    def ledgers(self) -> dict[str, apsw.Connection]:
        """Return the ledgers by name, `ledger.db` or `Unit/ledger.db`."""
        return {name: file for name, file in self.files.items() if Path(name).name == LEDGER}

    @property
    def checkpoints(self) -> dict[str, apsw.Connection]:
        """Return the checkpoints of the views by name."""
        return {name: file for name, file in self.files.items() if name in NAMES}


def names_in(folder: Path) -> list[str]:
    """Return the names of the files that hold what an app has taken and done, the log last."""
    ledgers = [path for path in ledgers_in(folder) if path.is_file()]
    views = [folder / name for name in NAMES]
    return [str(path.relative_to(folder)) for path in (*views, *ledgers, folder / LOG) if path.is_file()]


def elsewhere(folder: Path) -> list[str]:
    """Return what of an app is on servers, in words."""
    found = {what: carrier_of(folder, what) for what in ("log", "ledger")}
    return [f"its {what} is in {on.kind}, at {on.place}" for what, on in found.items() if on is not None]


@contextmanager
def cut(folder: Path) -> Iterator[Cut]:
    """Yield the files of an app as they are now, whatever is written meanwhile. Refused when there are none."""
    if not folder.is_dir():
        raise Refused(f"{folder}: no such folder; --folder names where an app keeps its files")
    if not (names := names_in(folder)):
        why = "; ".join(elsewhere(folder)) or "an app without durability keeps none"
        raise Refused(f"{folder}: there are no files of events or state: {why}")
    with ExitStack() as stack:
        files, faults = _opened(folder, names, stack, still=False)
        held_ms = 0.0
        with ExitStack() as holds:
            begun = time.perf_counter()
            for name in [name for name in files if name != LOG]:  # the log only grows: it is read last
                try:
                    _hold(folder / name, holds)
                except apsw.Error as error:
                    faults[name] = told_of(error)
            for name, file in list(files.items()):
                try:
                    file.execute("BEGIN; SELECT count(*) FROM sqlite_schema").fetchall()
                except apsw.Error as error:
                    faults[name] = told_of(error)
            held_ms = (time.perf_counter() - begun) * 1000
        yield Cut({name: file for name, file in files.items() if name not in faults}, faults, held_ms)


@contextmanager
def copied(folder: Path, names: list[str]) -> Iterator[Cut]:
    """Yield files that nobody writes."""
    with ExitStack() as stack:
        yield Cut(*_opened(folder, names, stack, still=True))


def rows(file: apsw.Connection, sql: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
    """Return what a file holds."""
    return file.execute(sql, bindings).fetchall()


def told_of(error: apsw.Error) -> str:
    """Return what an error of SQLite says about a file."""
    if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA:
        return "the checksum of a page is wrong"
    return str(error)


def _opened(
    folder: Path, names: list[str], stack: ExitStack, *, still: bool
) -> tuple[dict[str, apsw.Connection], dict[str, str]]:
    files, faults = {}, {}
    for name in names:
        try:
            files[name] = look(folder / name, still=still)
            stack.callback(files[name].close)
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
            raise Refused(
                f"{folder / name}: cannot be read ({error}); let this user read its folder, and write there"
            ) from None
        except Corrupted as error:
            faults[name] = str(error).partition(": ")[2]
        except apsw.Error as error:
            faults[name] = told_of(error)
    return files, faults


def _hold(path: Path, holds: ExitStack) -> None:
    """Let nobody write a file until `holds` is left: no longer than it takes to begin reading them all."""
    writer = look(path)
    holds.callback(writer.close)
    writer.execute("BEGIN IMMEDIATE")
    holds.callback(writer.execute, "ROLLBACK")
