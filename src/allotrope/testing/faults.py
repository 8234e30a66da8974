"""Faults on purpose: a process that dies or stops, a disk that forgets, is full or fails, a clock that jumps.

`python -m allotrope.testing.faults MODULE ARGUMENTS` runs a module with what the environment asks for:
ALLOTROPE_CRASH=append.after:3 kills it with SIGKILL the third time it comes to that point;
ALLOTROPE_LOSSY=1 drops unsynced writes when it dies, ALLOTROPE_LOSSY=torn drops a part of them;
ALLOTROPE_CLOCK=append.after:3:-3600 sets its wall clock back by an hour the third time it comes there.
ALLOTROPE_FAULTS names a folder that many processes share: none of this happens before there is a file `armed` in it,
and it happens once, to the first of them that comes there, which leaves a file `hit`. The units of a fleet hear of it
when the module of the app calls `arm()`.
Not here: which points there are, each `storage.points.reach` is one; and networks (`passages`).
"""

import contextlib
import os
import random
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from allotrope.storage import locks, points

_disks: list[apsw.VFS] = []


class Image:
    """One file as its process sees it, and the writes that the disk has not got yet."""

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.unsynced: list[tuple[int, bytes | None]] = []  # (offset, data), or (size, None) for a cut

    def write(self, offset: int, data: bytes) -> None:
        """Change what the process sees."""
        self.content.extend(bytes(max(0, offset - len(self.content))))
        self.content[offset : offset + len(data)] = data
        self.unsynced.append((offset, data))

    def cut(self, size: int) -> None:
        """Shorten what the process sees."""
        del self.content[size:]
        self.unsynced.append((size, None))


class LossyFile(apsw.VFSFile):
    """A file whose writes reach the disk when it is synced; its locks and shared memory are the real ones."""

    def __init__(self, disk: "LossyDisk", name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(disk.base, name, flags)
        self._disk = disk
        path = os.fspath(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        self._image = disk.image(path, super().xRead(super().xFileSize(), 0))

    def xRead(self, amount: int, offset: int) -> bytes:
        """Return what the process has written, synced or not."""
        return bytes(self._image.content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        """Keep the bytes in this process; FullError when the disk has no room for them."""
        self._disk.spend(offset + len(data) - len(self._image.content))
        self._image.write(offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:
        """Shorten the file, in this process."""
        self._image.cut(newsize)

    def xFileSize(self) -> int:
        """Return the size that the process sees."""
        return len(self._image.content)

    def xSync(self, flags: int) -> None:
        """Hand the disk all that it has not got yet; an error when the disk fails."""
        if self._disk.failing:
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        for offset, data in self._image.unsynced:
            if data is None:
                super().xTruncate(offset)
            else:
                super().xWrite(data, offset)
        self._image.unsynced.clear()


class LossyDisk(apsw.VFS):
    """A disk under every SQLite file opened after it; `room` is in bytes, `failing` makes each sync fail."""

    def __init__(self, room: int = 1 << 40) -> None:
        if "cksmvfs" in apsw.vfs_names():
            raise RuntimeError("a file is open already; make the disk before the first one")
        self.base = apsw.vfs_names()[0]
        self.room, self.failing = room, False
        self._images: dict[str, Image] = {}
        super().__init__("lossy", self.base, makedefault=True)
        _disks.append(self)  # SQLite would go back to the real one, without a word, when this is collected

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> LossyFile:
        """Open one file."""
        return LossyFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: int) -> None:
        """Delete a file, at once."""
        self._images.pop(filename, None)
        super().xDelete(filename, bool(syncdir))

    def image(self, path: str, content: bytes) -> Image:
        """Return the image that all connections to one file share."""
        return self._images.setdefault(path, Image(content)) if path else Image(content)

    def spend(self, grown: int) -> None:
        """Take room for a file that grows."""
        if grown > self.room:
            raise apsw.FullError("database or disk is full")
        self.room -= max(grown, 0)

    def tear(self, chance: random.Random) -> None:
        """Write some of the unsynced bytes, in no order, as a disk may have done before the power went."""
        for path, image in self._images.items():
            with Path(path).open("r+b") as file:
                for offset, data in image.unsynced:
                    if data is not None and chance.random() < 0.5:
                        file.seek(offset)
                        file.write(data[: 512 * chance.randrange(1, 1 + (len(data) + 511) // 512)])


def lossy(*, torn: bool = False) -> LossyDisk:
    """Put a lossy disk under every store opened from now on."""
    disk = LossyDisk()
    # To the stores a loss is a power cut: the machine does not seem to be the one that wrote.
    locks.BOOT = Path("/proc/sys/kernel/random/uuid")
    if torn:
        _before_death.append(lambda: disk.tear(random.Random(os.getpid())))
    return disk


def at(point: str, nth: int, fault: Callable[[], object], shared: Path | None = None) -> None:
    """Have `fault` happen when this process comes to `point` for the nth time, of all that it has been asked for.

    With a folder that is `shared`, it is counted from the moment there is a file `armed`, and happens to one process.
    """
    left = nth

    def count(name: str) -> None:
        nonlocal left
        if name == point and left and (shared is None or (shared / "armed").exists()):
            left -= 1
            if left == 0 and (shared is None or _first(shared, name)):
                fault()

    _counters.append(count)
    points.listen(_reached)


def _reached(name: str) -> None:
    for count in _counters:
        count(name)


def _first(shared: Path, name: str) -> bool:
    try:
        with (shared / "hit").open("x") as file:
            file.write(f"{name} {os.getpid()} {time.monotonic()}")
    except FileExistsError:
        return False
    return True


def kill_at(point: str, nth: int = 1, shared: Path | None = None) -> None:
    """End this process with SIGKILL when it comes to `point` for the nth time."""
    at(point, nth, _die, shared)


def _die() -> None:
    for prepare in _before_death:
        prepare()
    os.kill(os.getpid(), signal.SIGKILL)


_before_death: list[Callable[[], None]] = []
_counters: list[Callable[[str], None]] = []


def jump(seconds: float) -> None:
    """Set the wall clock of this process on, or back: `time.time` and `time.time_ns`, also where they were imported.

    What asks the system in another way, as `datetime.now` and file stamps do, sees the true time.
    """
    _clock.jumped_ns += int(seconds * 1e9)
    for module in list(sys.modules.values()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if module is not sys.modules[__name__] and (value is _clock.time or value is _clock.time_ns):
                setattr(module, name, _clock.now if value is _clock.time else _clock.now_ns)


class _Clock:
    """The wall clock, and by how much it has jumped."""

    def __init__(self) -> None:
        self.time, self.time_ns = time.time, time.time_ns
        self.jumped_ns = 0

    def now_ns(self) -> int:
        return self.time_ns() + self.jumped_ns

    def now(self) -> float:
        return self.now_ns() / 1e9


_clock = _Clock()


def stop(pid: int, seconds: float) -> threading.Timer:
    """Stop a process with SIGSTOP, and return what lets it go on after so many seconds; `join` waits for that.

    One that has ended meanwhile is left alone.
    """
    _signalled(pid, signal.SIGSTOP)
    waking = threading.Timer(seconds, _signalled, (pid, signal.SIGCONT))
    waking.start()
    return waking


def _signalled(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def arm() -> None:
    """Do what the environment asks for, once in a process."""
    if _counters or _disks:
        return
    named = os.environ.get("ALLOTROPE_FAULTS")
    shared = Path(named) if named else None
    if level := os.environ.get("ALLOTROPE_LOSSY"):
        lossy(torn=level == "torn")
    if crash := os.environ.get("ALLOTROPE_CRASH"):
        point, _, nth = crash.partition(":")
        kill_at(point, int(nth or 1), shared)
    if clock := os.environ.get("ALLOTROPE_CLOCK"):
        point, nth, seconds = clock.split(":")
        at(point, int(nth), lambda: jump(float(seconds)), shared)


if __name__ == "__main__":
    arm()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
