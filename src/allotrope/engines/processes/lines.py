"""Lines: a wire over framed links. It finds a replica in the directory, and waits a while when there is none.

The directory is a value that is sent around. Not here: who decides what stands in it (`fleet`, `leases`).
"""

import asyncio
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from random import random
from time import monotonic
from zlib import crc32

import msgspec

from allotrope.kernel.errors import Lost, Overloaded
from allotrope.runtime.doors.limits import Gone
from allotrope.runtime.sites.wire import Address, Letter, Method, Served, Stream, subject
from allotrope.storage.partitions import partition_of
from allotrope.transports.frames.client import Link, connect
from allotrope.transports.frames.errors import Unreachable
from allotrope.transports.frames.limits import Limits
from allotrope.transports.frames.security import Credentials
from allotrope.transports.frames.server import Answer, Call, Handler, Server, Streamer

PATIENCE_S = 2.0  # how long a call waits for a replica when it has no deadline of its own
TOLD_S = 0.25  # how long a call without an answer waits to hear what became of the process
LIMITS = Limits(arena_bytes=16 << 20, ping_s=60.0)


class Replica(msgspec.Struct, frozen=True, array_like=True):
    """One process of a unit. Its name is new with each start: nobody takes a restarted one for its former self."""

    name: str
    unit: str
    address: str
    ready: bool = False  # it may be asked; a view's replica that still reads its events may not
    leaving: bool = False
    partitions: tuple[int, ...] = ()
    release: int = 1


class Canary(msgspec.Struct, frozen=True, array_like=True):
    """A newer release of a unit beside the older one, and the share of the work that it gets."""

    unit: str
    release: int
    share: float  # 1 while it takes over: then nobody is chosen by release any more
    partitions: int = 0  # of the unit; 0 where nothing of it writes

    @property
    def taken(self) -> int:
        """Return how many partitions, the last ones, are for the newer release: neither all nor none."""
        return max(min(max(round(self.share * self.partitions), 1), self.partitions - 1), 0)

    def meets(self, key: str, request: str) -> bool:
        """Return whether what is asked about a key goes to the newer release; without one its request decides.

        A key meets the same release with all that it asks and writes, whatever process it comes from.
        """
        if key and self.partitions:
            return partition_of(key, self.partitions) >= self.partitions - self.taken
        return crc32(f"{self.unit}/{key or request or random()}".encode()) < self.share * (1 << 32)


class Ending(msgspec.Struct, frozen=True, array_like=True):
    """How a process ended; a status below zero is the signal that killed it. `ours`: its fleet has ended it."""

    name: str
    status: int
    ours: bool = False

    def __str__(self) -> str:
        """Return it in words."""
        if self.status >= 0:
            return f"ended with exit code {self.status}"
        try:
            name = f" ({signal.Signals(-self.status).name})"
        except ValueError:  # one of those without a name
            name = ""
        return f"ended: killed by signal {-self.status}{name}"


class Directory(msgspec.Struct, frozen=True, array_like=True):
    """All replicas that can be reached, and how the last to end did; a later version replaces an earlier one."""

    version: int = 0
    replicas: tuple[Replica, ...] = ()
    ended: tuple[Ending, ...] = ()
    canaries: tuple[Canary, ...] = ()

    def of(self, unit: str) -> tuple[Replica, ...]:
        """Return the replicas of a unit."""
        return tuple(replica for replica in self.replicas if replica.unit == unit)


class Lines:
    """The links of one process to all others."""

    def __init__(self, credentials: Credentials, limits: Limits = LIMITS) -> None:
        """Reach nobody before the first directory comes."""
        self.directory = Directory()
        self._credentials, self._limits = credentials, limits
        self._ready: dict[str, tuple[Replica, ...]] = {}
        self._holders: dict[tuple[str, int], tuple[Replica, ...]] = {}
        self._canaries: dict[str, Canary] = {}
        self._links: dict[str, asyncio.Task[Link]] = {}
        self._open: dict[str, Link] = {}
        self._turn = 0
        self.expelling: Callable[[str], Awaitable[None]] | None = None
        self._news = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()

    def update(self, directory: Directory) -> None:
        """Take over a newer directory; what was asked of those who are gone is Lost."""
        if directory.version <= self.directory.version:
            return
        self.directory = directory
        self._ready, self._holders = {}, {}
        for replica in directory.replicas:
            if replica.ready and not replica.leaving:
                self._ready[replica.unit] = (*self._ready.get(replica.unit, ()), replica)
            for partition in replica.partitions:
                self._holders[replica.unit, partition] = (replica,)
        self._canaries = {canary.unit: canary for canary in directory.canaries if canary.share < 1}
        there = {replica.name for replica in directory.replicas}
        for name in [name for name in self._links if name not in there]:
            self._cut(name)
        self._news.set()
        self._news = asyncio.Event()

    def _cut(self, name: str) -> None:
        opening = self._links.pop(name)
        self._open.pop(name, None)
        if opening.done() and not opening.cancelled() and opening.exception() is None:
            task = asyncio.get_running_loop().create_task(opening.result().close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        else:
            opening.cancel()

    # -- the port

    async def call(self, to: Address, method: str, letter: Letter, timeout_s: float | None = None) -> Letter:
        """Return the reply. Overloaded when no replica can take it in time, Lost when nobody knows whether it ran."""
        start = monotonic()
        until = None if timeout_s is None else start + timeout_s
        patience = start + PATIENCE_S if timeout_s is None else start + min(timeout_s, PATIENCE_S)
        while True:
            found = self._reached(to, method, letter) or await self._found(to, patience, method, letter)
            try:
                link = self._open.get(found.name)
                if link is None or link.closed:
                    link = await self._link(found)
                left = None if until is None else until - monotonic()
                payload, buffers = await link.call(method, letter.body, letter.arrays, left)
                return Letter(payload, buffers)
            except Lost as error:
                raise await self._lost(to, found, error, until) from None
            except Unreachable as error:  # it has gone, and nothing ran: another one may be there, or come
                if to.replica or monotonic() >= patience:
                    raise Overloaded(f"{to}: {error}", 0.5) from None
                await self.changed(0.02)

    async def stream(
        self, to: Address, method: str, letter: Letter, timeout_s: float | None = None
    ) -> AsyncIterator[Letter]:
        """Yield the replies to a letter."""
        until = None if timeout_s is None else monotonic() + timeout_s
        patience = monotonic() + PATIENCE_S if until is None else min(until, monotonic() + PATIENCE_S)
        while True:
            found = await self._found(to, patience, method, letter)
            try:
                link = await self._link(found)
                left = None if until is None else until - monotonic()
                async with aclosing(link.stream(method, letter.body, letter.arrays, left)) as pieces:
                    async for piece in pieces:
                        yield Letter(*piece)
                return
            except Lost as error:
                raise await self._lost(to, found, error, until) from None
            except Unreachable as error:  # as above; once it has begun, an end before its time is Lost
                if monotonic() >= patience:
                    raise Overloaded(f"{to}: {error}", 0.5) from None
                await self.changed(0.02)

    def replicas(self, unit: str) -> tuple[str, ...]:
        """Return the names of the replicas that can be reached."""
        return tuple(replica.name for replica in self.directory.of(unit))

    async def changed(self, timeout_s: float | None = None) -> None:
        """Return once the directory has changed, or when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            pass

    async def expel(self, replica: str) -> None:
        """Return once a replica has ended: only who has started it can see to that."""
        if self.expelling is not None:
            await self.expelling(replica)
        while any(replica == other.name for other in self.directory.replicas):
            await self.changed()

    def close(self) -> None:
        """Let go of all links."""
        for name in list(self._links):
            self._cut(name)

    # -- finding

    async def _found(self, to: Address, until: float, method: str, letter: Letter) -> Replica:
        while (found := self._reached(to, method, letter)) is None:
            if to.replica or monotonic() >= until:
                raise Overloaded(f"no replica of {to} can be reached now; come back later", 0.5)
            await self.changed(until - monotonic())
        return found

    def _reached(self, to: Address, method: str, letter: Letter) -> Replica | None:
        if to.replica:
            there = tuple(replica for replica in self.directory.of(to.unit) if replica.name == to.replica)
        elif to.partition >= 0:
            there = self._holders.get((to.unit, to.partition), ())
        else:
            there = self._ready.get(to.unit, ())
            if to.unit in self._canaries:
                there = self._chosen(self._canaries[to.unit], there, *subject(method, letter))
        if not there:
            return None
        return there[0] if len(there) == 1 else self._least_busy(there)

    def _chosen(
        self, canary: Canary, there: tuple[Replica, ...], key: str, request: str
    ) -> tuple[Replica, ...]:
        """Return those of the release that a letter is for; all, when none of it can be asked now."""
        newer = canary.meets(key, request)
        return tuple(replica for replica in there if (replica.release == canary.release) == newer) or there

    def _least_busy(self, replicas: tuple[Replica, ...]) -> Replica:
        """Return the one with the fewest calls of ours; by turns where they are equal."""
        self._turn += 1
        start = self._turn % len(replicas)
        return min((*replicas[start:], *replicas[:start]), key=self._inflight)

    def _inflight(self, replica: Replica) -> int:
        link = self._open.get(replica.name)
        return 0 if link is None else link.inflight

    async def _lost(self, to: Address, replica: Replica, error: Lost, until: float | None) -> Lost:
        """Return what is known of a call without an answer: how the process ended, if the fleet tells it in time."""
        link = self._open.get(replica.name)
        if link is not None and not link.broken:
            return error
        told = monotonic() + TOLD_S if until is None else min(until, monotonic() + TOLD_S)
        while True:
            there = self.directory
            for ending in there.ended:
                if ending.name == replica.name:
                    text = f"unit `{to.unit}`: {replica.name} {ending}; there was no answer yet"
                    return Gone(text, killed=ending.status == -signal.SIGKILL, ours=ending.ours)
            left = told - monotonic()
            if left <= 0 or replica.name not in {each.name for each in there.replicas}:
                words = "has ended or does not answer its fleet; there was no answer yet"
                return Lost(f"unit `{to.unit}`: {replica.name} {words}")
            await self.changed(left)

    async def _link(self, replica: Replica) -> Link:
        opening = self._links.get(replica.name)
        if opening is not None and opening.done() and (opening.cancelled() or _unusable(opening)):
            opening = None
        if opening is None:
            opening = asyncio.get_running_loop().create_task(
                connect(replica.address, self._credentials, self._limits)
            )
            self._links[replica.name] = opening
        try:
            link = self._open[replica.name] = await asyncio.shield(opening)
            return link
        except asyncio.CancelledError:
            if opening.cancelled() and not ((task := asyncio.current_task()) and task.cancelling()):
                raise Unreachable(f"{replica.name} has gone") from None
            raise


def _unusable(opening: asyncio.Task[Link]) -> bool:
    return opening.exception() is not None or opening.result().closed


def server(served: Iterable[Served], credentials: Credentials, limits: Limits = LIMITS) -> Server:
    """Return a server that answers letters; who listens to it says where."""
    methods: dict[str, Handler] = {}
    streams: dict[str, Streamer] = {}
    for each in served:
        methods |= {name: _handler(method) for name, method in each.methods.items()}
        streams |= {name: _streamer(stream) for name, stream in each.streams.items()}
    return Server(methods, streams, credentials, limits)


def _left(call: Call) -> float | None:
    return None if call.deadline is None else call.deadline - asyncio.get_running_loop().time()


def _handler(method: Method) -> Handler:
    async def answer(call: Call) -> Answer:
        reply = await method(Letter(call.payload, call.buffers), _left(call))
        return (reply.body, reply.arrays) if reply.arrays else reply.body

    return answer


def _streamer(stream: Stream) -> Streamer:
    async def items(call: Call) -> AsyncGenerator[Answer, None]:
        async with aclosing(stream(Letter(call.payload, call.buffers), _left(call))) as pieces:
            async for piece in pieces:
                yield piece.body, piece.arrays

    return items
