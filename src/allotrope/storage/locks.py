"""One writer per file: a lock that ends with its process, and a note of who wrote last."""

import fcntl
import os
import time
from pathlib import Path

from allotrope.kernel.errors import Refused

OPENING_S = 10.0  # how long the first of several processes may take
BOOT = Path("/proc/sys/kernel/random/boot_id")


def _boot() -> str:
    """Return what names this run of the machine, "" where nothing does."""
    try:
        return BOOT.read_text("ascii").strip()
    except OSError:
        return ""


class Lock:
    """Held by the one process that may write `path`.

    `same_boot`: the machine has not been down since it was last held; `state`: what its holder noted then.
    Its file is never deleted: to delete a lock that another is about to take would let two in.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        """Take the lock; Refused, with the holder's process id, when another instance has it.

        A `shared` one is had by several processes: `first` by one alone, until it admits the others.
        """
        self.path = path.with_suffix(".lock")
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        self._shared, self.first = shared, True
        if not self._taken():
            holder = self._note()[0]
            os.close(self._file)
            raise Refused(
                f"{path}: in use by process {holder or '(unknown)'}, which holds {self.path.name}; "
                "stop that process, or give this one another folder"
            ) from None
        _, last, self.state = self._note()
        self.same_boot = bool(last) and last == _boot()
        self._write(last, self.state)

    def _taken(self) -> bool:
        until = time.monotonic() + (OPENING_S if self._shared else 0.0)
        while True:
            if self._locked(fcntl.LOCK_EX):
                return True
            if self._shared and self._locked(fcntl.LOCK_SH):
                self.first = False
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(0.002)  # the first one is still opening it

    def _locked(self, how: int) -> bool:
        try:
            fcntl.flock(self._file, how | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def admit(self) -> None:
        """Let other processes in that share it; what had to be done alone is done."""
        if self._shared and self.first:
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def alone(self) -> bool:
        """Return whether no other process has it."""
        return not self._shared or self._locked(fcntl.LOCK_EX)

    def _note(self) -> tuple[str, str, str]:
        words = os.pread(self._file, 200, 0).decode("ascii", "replace").split()
        pid, last, state = (*words, "", "", "")[:3]
        return pid, "" if last == "-" else last, state

    def mark(self, state: str) -> None:
        """Note one word for the next holder, and that this run of the machine wrote it."""
        self._write(_boot(), state)

    def _write(self, last: str, state: str) -> None:
        note = f"{os.getpid()} {last or '-'} {state}"
        os.pwrite(
            self._file, note.ljust(100).encode("ascii"), 0
        )  # of one length: it is never seen half written

    def release(self) -> None:
        """Let another instance in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def holder(path: Path) -> str:
    """Return the process id of an instance that has a file now, "" when none has. It is tried for an instant."""
    place = path.with_suffix(".lock")
    try:
        file = os.open(place, os.O_RDONLY)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return os.pread(file, 20, 0).decode("ascii", "replace").partition(" ")[0] or "(unknown)"
    finally:
        os.close(file)
    return ""
