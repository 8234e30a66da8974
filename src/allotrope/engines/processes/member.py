"""A member: one replica as its fleet sees it. It starts the process, feels its pulse, and ends it."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from math import inf
from pathlib import Path
from time import monotonic

import msgspec

from allotrope.engines.processes.lines import LIMITS, Directory, Ending, Replica
from allotrope.engines.processes.nursery import Process, turn_over
from allotrope.engines.processes.post import Pulse, Vital
from allotrope.kernel import codec
from allotrope.kernel.errors import Lost, Refused
from allotrope.runtime.sites.wire import Letter, opened
from allotrope.runtime.telemetry.journal import Line
from allotrope.transports.frames.client import Link, connect
from allotrope.transports.frames.errors import Unreachable
from allotrope.transports.frames.security import Credentials

WINDOW_S = 0.5  # of a look at CPU use
log = logging.getLogger("allotrope.fleet")
HUNG_S = 60.0  # one that beats, and does not answer for so long, never will
ASKED_S = 1.0  # for the answer of one that is told to leave
REAP_S = 0.2  # from the end of its link to the news of how the process ended
BESIDE = 100  # places of a unit beyond are those of its canary, beside the others
START_S = 60.0  # a process that cannot be reached by then has failed
LAST_BYTES = 64 << 10  # of a file, where last words are looked for


class Usage:
    """How much CPU time a process uses: its share of one core, over the last moments."""

    def __init__(self) -> None:
        """Begin with its birth."""
        self.share = 0.0
        self._at, self._spent = monotonic(), 0.0

    def see(self, cpu_s: float) -> None:
        """Take note of the time that it has used so far."""
        now = monotonic()
        if now - self._at >= WINDOW_S:
            self.share = max(cpu_s - self._spent, 0.0) / (now - self._at)
            self._at, self._spent = now, cpu_s


class Member:
    """One process of a unit."""

    def __init__(self, unit: str, number: int, life: int, address: str) -> None:
        """Name it by its unit, its place among the replicas, and how often that place was filled."""
        self.unit, self.number, self.life = unit, number, life
        self.name, self.address = f"{unit}-{number}.{life}", address
        self.born, self.release = monotonic(), 1
        self.vital = Vital(-1, False, 0, 0.0, 0.0)
        self.usage = Usage()
        self.partitions: frozenset[int] = frozenset()
        self.leaving = self.gone = False
        self.until = inf  # when it has had its time to leave
        self.process: Process | None = None
        self.devices: tuple[str, ...] = ()  # GPUs that it was lent
        self.before = ""  # how the one before it in its place ended, if not in order
        self.struck = False  # whether it is its fleet that makes it end
        self.over: asyncio.Future[int] | None = None  # done once the process has ended
        self._link: Link | None = None
        self._closing: asyncio.Future[None] | None = None
        self._beat = 0

    @property
    def entry(self) -> Replica:
        """Return how it stands in the directory."""
        ready = self.vital.ready and not self.leaving
        return Replica(
            self.name, self.unit, self.address, ready, self.leaving, tuple(sorted(self.partitions)), self.release
        )  # fmt: skip

    @property
    def beside(self) -> bool:
        """Return whether it is one of a canary."""
        return self.number > BESIDE

    @property
    def ending(self) -> Ending | None:
        """Return how its process ended, None while it runs."""
        status = None if self.process is None else self.process.returncode
        return None if status is None else Ending(self.name, status, self.struck or self.leaving)

    @property
    def up(self) -> bool:
        """Return whether it can be reached."""
        return self._link is not None and not self.gone

    @property
    def ready(self) -> bool:
        """Return whether it does what it is asked for."""
        return self.up and self.vital.ready

    @property
    def able(self) -> bool:
        """Return whether it may be given partitions."""
        return self.ready and not self.leaving

    async def start(
        self, launch: Callable[["Member"], Awaitable[Process]], log: Path, trust: Credentials
    ) -> None:
        """Return once it answers. Refused, with its last words, when it ends before."""
        turn_over(log)
        self.process = await launch(self)
        self.over = asyncio.ensure_future(self.process.wait())
        until = monotonic() + START_S
        while self._link is None:
            if (ending := self.ending) is not None:
                raise Refused(f"{self.name} {ending}, at its start: {last_words(log)}")
            if monotonic() > until:
                raise Refused(f"{self.name} does not answer after {START_S:g} s; its log is {log}")
            try:
                self._link = await connect(self.address, trust, LIMITS)
            except Refused:
                await asyncio.wait((self.over,), timeout=0.01)

    async def feel(self, directory: Directory | None, timeout_s: float) -> None:
        """Take its pulse. Lost or Refused when it has none; one that only computes for long is waited for."""
        begun = monotonic()
        while True:
            link = self._link
            if link is None:
                raise Lost(f"{self.name} has ended")
            try:
                reply, _ = await link.call("pulse", codec.encode(Pulse(directory)), timeout_s=timeout_s)
                break
            except (Lost, Unreachable) as error:
                if link.closed and self.over is not None:
                    await asyncio.wait((self.over,), timeout=REAP_S)
                    if (ending := self.ending) is not None:
                        raise Lost(str(ending)) from None
                if link.closed or not self._beats() or monotonic() - begun > HUNG_S:
                    raise
                log.warning("%s has not answered for %.0f s: %s", self.name, monotonic() - begun, error)
        self.vital = codec.decode(reply, Vital)
        self._beats()
        self.usage.see(self.vital.cpu_s)

    def _beats(self) -> bool:
        """Return whether its beat was felt since this was last asked."""
        try:
            before, self._beat = self._beat, Path(self.address.removeprefix("unix:")).stat().st_mtime_ns
        except OSError:
            return False
        return self._beat != before

    async def ask(self, method: str, letter: bytes, timeout_s: float | None = None) -> None:
        """Have it do something; raise what it answers with."""
        if self._link is None:
            raise Lost(f"{self.name} has ended")
        reply, _ = await self._link.call(method, letter, timeout_s=timeout_s)
        if reply:
            opened(Letter(reply), None)

    async def leave(self, grace_s: float) -> None:
        """Let it finish what it runs, and end; after `grace_s` it is ended."""
        if self.up:
            with contextlib.suppress(Refused, Lost):
                await self.ask("leave", b"", min(grace_s, ASKED_S))
        elif self.process is not None and self.process.returncode is None:
            self.strike(signal.SIGTERM)
        await self.end(grace_s)

    async def end(self, after_s: float = 0.0) -> None:
        """Return once it has ended; make it end after a while."""
        self.hang_up()
        if self.process is not None and self.process.returncode is None:
            try:
                async with asyncio.timeout(after_s):
                    await self.process.wait()
            except TimeoutError:
                self.strike(signal.SIGKILL)
                await self.process.wait()
        if self.over is not None and not self.over.done():
            self.over.cancel()
        if self._closing is not None:
            await asyncio.wait((self._closing,))

    def hang_up(self) -> None:
        """Have nothing more to do with it; what it was asked and has not answered is Lost."""
        self.gone = True
        if self._link is not None:
            self._closing, self._link = asyncio.ensure_future(self._link.close()), None

    def forget(self) -> None:
        """Remove the socket of a process that has ended without doing so."""
        Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)

    def strike(self, number: int) -> None:
        """Make it end by a signal, if there is still somebody to get it; it is known then whose doing that was."""
        self.struck = self.struck or self.ending is None
        self.signal(number)

    def signal(self, number: int) -> None:
        """Send a signal, if there is still somebody to get it."""
        with contextlib.suppress(ProcessLookupError):
            if self.process is not None:
                self.process.send_signal(number)


def last_words(log: Path) -> str:
    """Return the last line that a process has written."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
            lines = file.read(LAST_BYTES).decode("utf-8", "replace").split("\n")[-50:]
    except OSError:
        lines = []
    said = [line for line in lines if line.strip() and line[0] != " "]  # an error comes after its frames
    if not said:
        return f"it said nothing; its log is {log}"
    with contextlib.suppress(msgspec.MsgspecError):
        line = msgspec.json.decode(said[-1], type=Line)
        return line.error.strip().rpartition("\n")[2] or line.message
    return said[-1]
