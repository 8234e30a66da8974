"""Lines: a wire over framed links. It finds a replica in the directory, and waits a while when there is none.

The directory is a value that is sent around. Not here: who decides what stands in it (`fleet`, `leases`).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from time import monotonic

import msgspec

from allotrope.kernel.errors import Expired, Overloaded
from allotrope.runtime.sites.wire import Address, Letter, Method, Served, Stream
from allotrope.transports.frames.client import Link, connect
from allotrope.transports.frames.errors import Unreachable
from allotrope.transports.frames.limits import Limits
from allotrope.transports.frames.security import Credentials
from allotrope.transports.frames.server import Answer, Call, Handler, Server, Streamer

PATIENCE_S = 2.0  # how long a call waits for a replica when it has no deadline of its own
LIMITS = Limits(arena_bytes=16 << 20, ping_s=60.0)


class Replica(msgspec.Struct, frozen=True, array_like=True):
    """One process of a unit. Its name is new with each start: nobody takes a restarted one for its former self."""

    name: str
    unit: str
    address: str
    ready: bool = False  # it may be asked; a view's replica that still reads its events may not
    leaving: bool = False
    partitions: tuple[int, ...] = ()


class Directory(msgspec.Struct, frozen=True, array_like=True):
    """All replicas that can be reached; a later version replaces an earlier one."""

    version: int = 0
    replicas: tuple[Replica, ...] = ()

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
        until = None if timeout_s is None else monotonic() + timeout_s
        patience = monotonic() + PATIENCE_S if until is None else min(until, monotonic() + PATIENCE_S)
        while True:
            found = await self._found(to, patience)
            try:
                link = self._open.get(found.name)
                if link is None or link.closed:
                    link = await self._link(found)
                left = _rest(until, to)
                return Letter(*await link.call(method, letter.body, letter.arrays, left))
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
            found = await self._found(to, patience)
            try:
                link = await self._link(found)
                left = _rest(until, to)
                async with aclosing(link.stream(method, letter.body, letter.arrays, left)) as pieces:
                    async for piece in pieces:
                        yield Letter(*piece)
                return
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

    async def _found(self, to: Address, until: float) -> Replica:
        while True:
            if to.replica:
                there = tuple(replica for replica in self.directory.of(to.unit) if replica.name == to.replica)
            elif to.partition >= 0:
                there = self._holders.get((to.unit, to.partition), ())
            else:
                there = self._ready.get(to.unit, ())
            if there:
                return there[0] if len(there) == 1 else self._least_busy(there)
            if to.replica or monotonic() >= until:
                raise Overloaded(f"no replica of {to} can be reached now; come back later", 0.5)
            await self.changed(until - monotonic())

    def _least_busy(self, replicas: tuple[Replica, ...]) -> Replica:
        """Return the one with the fewest calls of ours; by turns where they are equal."""
        self._turn += 1
        start = self._turn % len(replicas)
        return min((*replicas[start:], *replicas[:start]), key=self._inflight)

    def _inflight(self, replica: Replica) -> int:
        link = self._open.get(replica.name)
        return 0 if link is None else link.inflight

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


def _rest(until: float | None, to: Address) -> float | None:
    """Return how long a letter may still take. Expired when that is no time at all."""
    left = None if until is None else until - monotonic()
    if left is not None and left <= 0:
        raise Expired(f"{to}: the deadline passed before a replica could be asked")
    return left


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
        return reply if reply.arrays else reply.body

    return answer


def _streamer(stream: Stream) -> Streamer:
    async def items(call: Call) -> AsyncGenerator[Answer, None]:
        async with aclosing(stream(Letter(call.payload, call.buffers), _left(call))) as pieces:
            async for piece in pieces:
                yield piece

    return items
