"""The post of a replica: how its fleet learns how it is, tells it who else is there, and asks it to leave."""

import asyncio
import contextlib
import logging
import os
import resource
import sys
import threading
from collections.abc import Callable, Mapping
from time import monotonic, process_time
from typing import Protocol

import msgspec

from allotrope.engines.processes.lines import Directory, Lines
from allotrope.kernel import codec
from allotrope.runtime.sites.wire import Letter, Served

log = logging.getLogger("allotrope")

BEAT_S = 0.25
FORLORN_S = 5.0  # without a pulse: whoever has started this process is gone


class Pulse(msgspec.Struct, frozen=True, array_like=True):
    """What a fleet sends: the directory, where the replica has an older one."""

    directory: Directory | None = None


class Vital(msgspec.Struct, frozen=True, array_like=True):
    """How a replica is. Memory is what it has for itself or shares, in MiB; CPU time is since its start."""

    version: int  # of the directory that it has
    ready: bool
    running: int
    cpu_s: float
    memory_mb: float
    calls: int = 0  # in work or waiting, queries as well
    tasks: int = 0  # of its event loop


class Charge(Protocol):
    """What a process is there for: a station, or the gateway."""

    @property
    def loaded(self) -> bool:
        """Return whether it may be asked."""

    @property
    def broken(self) -> str:
        """Return why it can do nothing more, "" while all is well."""

    @property
    def busy(self) -> Mapping[int, int]:
        """Return how many deliveries run, by partition."""

    def served(self) -> Served:
        """Return what it answers to."""

    async def close(self) -> None:
        """Stop, and release what is held."""


class Post:
    """The control face of one replica."""

    def __init__(self, lines: Lines, station: Charge) -> None:
        """Report how a station is."""
        self.lines, self.station = lines, station
        self.leaving = asyncio.Event()
        self.calls: Callable[[], int] = lambda: 0  # who listens knows
        self._last = monotonic()

    def served(self) -> Served:
        """Return what it answers to."""
        return Served({"pulse": self._pulse, "leave": self._leave}, {})

    async def _pulse(self, letter: Letter, left_s: float | None) -> Letter:
        self._last = monotonic()
        pulse = codec.decode(letter.body, Pulse)
        if pulse.directory is not None:
            self.lines.update(pulse.directory)
        version, station = self.lines.directory.version, self.station
        if station.broken:  # another one may have more luck
            log.error("leaving: %s", station.broken)
            self.leaving.set()
        ready = station.loaded and not station.broken
        running, calls = sum(station.busy.values()), max(self.calls() - 1, 0)  # without this one
        vital = Vital(version, ready, running, process_time(), memory_mb(), calls, len(asyncio.all_tasks()))
        return Letter(codec.encode(vital))

    async def _leave(self, letter: Letter, left_s: float | None) -> Letter:
        self.leaving.set()
        return Letter(b"")

    async def forlorn(self) -> None:
        """Return once no pulse has come for so long that nobody will ever send one again."""
        late = 0
        while late < 2:  # after the loop was held up, what came meanwhile is read before the second look
            left = self._last + FORLORN_S - monotonic()
            late = 0 if left > 0 else late + 1
            await asyncio.sleep(max(left, 1.0))


def beating(path: str) -> threading.Event:
    """Touch a file four times a second, until the event is set that this returns.

    It is done by a thread: so a process whose event loop is held up by a long computation is told from a stopped one.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(path)

    threading.Thread(target=beat, name="beat", daemon=True).start()
    return over


def memory_mb() -> float:
    """Return the resident memory of this process in MiB; its peak where the system tells no more."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)


def die_with_parent(parent: int = 0) -> None:
    """End this process when its parent ends, even by kill -9, even while this one is stopped. Linux only.

    With the id of the parent it ends now, if that has ended already.
    """
    if sys.platform != "linux":
        return  # `Post.forlorn` notices it, later
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG
    if parent and os.getppid() != parent:
        os._exit(1)
