"""The nursery: a process for each release that has imported the app, and forks a replica when the fleet asks for one.

A fork costs milliseconds and shares the memory of what was imported. It is safe only while the nursery has one thread,
which it checks before each; if it has more, it says so and the fleet starts a process of its own.
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
import random
import select
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from allotrope.engines.devices import VISIBLE
from allotrope.engines.processes.post import die_with_parent

logger = logging.getLogger("allotrope.fleet")
FORK_S = 60.0  # for the import of an app, and one fork: longer and it is not waited for
LOG_BYTES = 64 << 20  # a file that has more is put aside when a process starts


class Process(Protocol):
    """A process that was started, by whatever means."""

    @property
    def pid(self) -> int:
        """Return its id."""

    @property
    def returncode(self) -> int | None:
        """Return how it ended; None while it runs."""

    async def wait(self) -> int:
        """Return how it ended, once it has."""

    def send_signal(self, signal: int) -> None:
        """Send it a signal. ProcessLookupError when it has ended."""


class Forked:
    """A process that the nursery has forked."""

    def __init__(self, pid: int) -> None:
        """Take it as running."""
        self.pid = pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        """Return how it ended; None while it runs."""
        return self.ended.result() if self.ended.done() else None

    async def wait(self) -> int:
        """Return how it ended, once it has."""
        return await asyncio.shield(self.ended)

    def send_signal(self, signal: int) -> None:
        """Send it a signal. ProcessLookupError when it has ended."""
        if self.ended.done():
            raise ProcessLookupError
        os.kill(self.pid, signal)


class Brood:
    """One process of the nursery, with those that it has forked and the orders that it has yet to answer."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Begin to hear it."""
        self.process = process
        self.children: dict[int, Forked] = {}
        self.ended = False
        self._orders: deque[asyncio.Future[Forked | None]] = deque()  # answered one after the other
        self.hearing = asyncio.get_running_loop().create_task(self._hear())

    async def ask(self, order: Mapping[str, object]) -> Forked | None:
        """Return who is born, None when it ends before.

        Raises TimeoutError when neither happens, and ConnectionError when it had ended before it was asked.
        """
        assert self.process.stdin is not None
        born: asyncio.Future[Forked | None] = asyncio.get_running_loop().create_future()
        self._orders.append(born)
        async with asyncio.timeout(FORK_S):
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            await self.process.stdin.drain()
            return await born

    def dismiss(self) -> None:
        """Have it end, after those that it has forked: without it they cannot live."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if not self.children:
            self.kill()

    def kill(self) -> None:
        """End it now, and with it all that it has forked."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def _hear(self) -> None:
        assert self.process.stdout is not None
        try:
            async for line in self.process.stdout:
                try:
                    said: dict[str, int] = json.loads(line)
                    pid, status = said["pid"], said.get("status")
                except (ValueError, KeyError, TypeError):
                    continue  # an app that writes while it is imported
                if status is None:
                    self._born(Forked(pid))
                elif (child := self.children.pop(pid, None)) is not None:
                    child.ended.set_result(status)
        finally:
            self.ended = True
            for child in self.children.values():  # they end with it
                child.ended.set_result(-signal.SIGKILL)
            self.children.clear()
            for order in self._orders:
                if not order.done():
                    order.set_result(None)

    def _born(self, child: Forked) -> None:
        self.children[child.pid] = child
        order = self._orders.popleft()
        if not order.done():
            order.set_result(child)
        else:  # nobody waits for it any more: another process has its place
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGKILL)


class Nursery:
    """The fleet's side: asks for forks, and hears how they end. A release is one import of the app, by number."""

    def __init__(
        self, command: Sequence[str], log: Path, files: tuple[int, ...] = (), newest: int = 1
    ) -> None:
        """Start nothing before the first fork is wanted; what it forks has these open files as well."""
        self.command, self.log, self.files = command, log, files
        self.newest = newest  # release
        self._forking: dict[int, Brood] = {}  # by release, of which more may be forked
        self._broods: set[Brood] = set()
        self._turn = asyncio.Lock()
        self._unfit: set[int] = set()  # releases of which nothing can be forked

    def fit(self, release: int) -> bool:
        """Return whether a release can be forked, as far as is known."""
        return sys.platform == "linux" and release not in self._unfit

    async def fork(
        self, arguments: Sequence[str], environment: Mapping[str, str], log: Path, release: int
    ) -> Forked | None:
        """Return a new process of a release, or None when it has to be started in another way."""
        order = {"arguments": list(arguments), "environment": dict(environment), "log": str(log)}
        async with self._turn:
            if not self.fit(release):
                return None
            brood = self._forking.get(release)
            if brood is None or brood.ended:
                if release != self.newest:  # what it had imported is gone with it
                    self._unfit.add(release)
                    return None
                brood = self._forking[release] = await self._started()
            try:
                child = await brood.ask(order)
            except ConnectionError:  # its end was not noticed yet: the next one may have more luck
                brood.ended = True
                return None
            except TimeoutError:
                words = "the nursery has not answered for %g s, see %s: units are started without it"
                logger.warning(words, FORK_S, self.log)
                brood.dismiss()
                child = None
            if child is None:
                self._unfit.add(release)
            return child

    async def _started(self) -> Brood:
        turn_over(self.log)
        with self.log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *self.command, env={**os.environ, **threads(1), VISIBLE: ""}, stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, stderr=out, pass_fds=self.files, start_new_session=True,
            )  # fmt: skip
        brood = Brood(process)
        self._broods.add(brood)
        brood.hearing.add_done_callback(lambda _: self._broods.discard(brood))
        return brood

    def renew(self) -> int:
        """Return a new release: the app as it will be imported for its first fork."""
        self.newest += 1
        return self.newest

    def keep(self, releases: Iterable[int]) -> None:
        """Fork no others from now on; their processes stay until those that they forked have ended."""
        kept = {self.newest, *releases}
        for release in [release for release in self._forking if release not in kept]:
            brood = self._forking.pop(release)
            if brood.process.stdin is not None:
                brood.process.stdin.close()

    async def close(self) -> None:
        """End it, and with it all that it has forked."""
        broods = list(self._broods)
        for brood in broods:
            brood.kill()
        await asyncio.gather(*(b.hearing for b in broods), return_exceptions=True)
        await asyncio.gather(*(b.process.wait() for b in broods))


def threads(count: int) -> dict[str, str]:
    """Return the variables that bound the threads of numerical libraries, which they start when they are imported."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return {name: str(count) for name in names if name not in os.environ}


def turn_over(log: Path) -> None:
    """Put a file that has grown too large aside, in the place of the one before; who has it open goes on in it."""
    with contextlib.suppress(OSError):  # there is none yet; and nothing stays down for want of a tidy folder
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))


# -- the other side


def nurse(replica: Callable[[Sequence[str]], None]) -> None:
    """Fork a process for each order on stdin, which runs `replica`; tell on stdout who is born and how each ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders, out = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    ended, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    gc.collect()
    gc.freeze()  # else the collector of each fork would write to, and so copy, what all share
    left, sources, alive = b"", [orders, ended], 0
    while alive or orders in sources:  # without further orders it stays for those that it has forked
        readable, _, _ = select.select(sources, [], [])
        if ended in readable:
            os.read(ended, 4096)
            alive -= _reap(out)
        if orders in readable:
            piece = os.read(orders, 65536)
            if not piece:
                sources.remove(orders)
            *lines, left = (left + piece).split(b"\n")
            for line in lines:
                order = json.loads(line)
                if _threads() > 1:
                    sys.exit(
                        "the app has started threads while it was imported: nothing can be forked from it"
                    )
                own = os.getpid()
                pid = os.fork()
                if pid == 0:
                    os.close(orders)
                    os.close(out)
                    _born(order, replica, own)
                alive += 1
                os.write(out, json.dumps({"pid": pid}).encode() + b"\n")


def _reap(out: int) -> int:
    """Tell which have ended, and return how many."""
    count = 0
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return count
        if not pid:
            return count
        count += 1
        told = {"pid": pid, "status": os.waitstatus_to_exitcode(status)}
        os.write(out, json.dumps(told).encode() + b"\n")


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 2  # nobody can tell: better not


def _born(order: dict[str, Any], replica: Callable[[Sequence[str]], None], parent: int) -> None:
    """Become the process that an order describes; never return."""
    status = 1
    try:
        die_with_parent(parent)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        written = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(written, 1)
        os.dup2(written, 2)
        os.environ.update(order["environment"])
        random.seed()
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed()
        replica(order["arguments"])
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
