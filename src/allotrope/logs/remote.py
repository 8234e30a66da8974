"""The log on a server: one host writes it, in groups, and knows after every failure what of a group was stored.

What the servers differ in stands behind the port `Server`. Origins, request ids and marks are the same on all.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from allotrope.kernel.errors import Lost, Refused
from allotrope.kernel.tables import Durability
from allotrope.logs.records import (
    DAY,
    EVERY,
    LEAP,
    RESTORE,
    Record,
    Requests,
    State,
    agreed,
    opened,
    same,
    sealed,
)
from allotrope.logs.server import Away, Server, roomy
from allotrope.storage.points import reach
from allotrope.storage.ports import Entry, Envelope, Fenced

R = TypeVar("R")
log = logging.getLogger("allotrope")
CLOSING_S = 2.0  # how long what is being written may take, once the log is to close
OPENING_S = 5.0  # how long a server may take to answer, before it counts as away
GROUP = 1000  # jobs in a group
GROUP_BYTES = 8 << 20
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # seconds before the next attempt to reach it


Work = Callable[[Any, list[bytes]], Awaitable[Any]]
Job = tuple[Work, Any, int, "asyncio.Future[Any]"]  # with the bytes of its envelopes
Settled = tuple[
    "asyncio.Future[Any]", Any, int, int
]  # with its result, and how many records came before and with it


class RemoteLog:
    """A durable log on a server. While the server is away, what is asked waits."""

    def __init__(
        self,
        server: Server,
        durability: Durability = "process",
        partitions: int = 16,
        owner: str = "",
        largest: int = 0,
    ) -> None:
        """Take the server, which must take events of `largest` bytes; nothing is reached before `open`."""
        self._largest = largest
        self.durability: Durability = durability
        self.server = server
        self._wanted = State(partitions, owner)
        self._state = self._wanted.copy()
        self._position = self._written = self._end = 0  # the newest given, and the last that is stored
        self._requests = Requests()
        self._fresh: dict[int, Record] = {}  # of the group at work
        self._jobs: list[Job] = []
        self._more = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._failed: Refused | None = None  # why nothing is written any more
        self._closed = False
        self._changed = False  # whether the next record has to hold the state
        self._lives = 0  # how often the server was reached
        self._reaching = asyncio.Lock()

    # -- life

    async def open(self) -> None:
        """Reach the server and take the log up where it ends. Refused when it is away, or another host has it."""
        until = time.monotonic() + OPENING_S
        while True:
            try:
                await self._level(await self.server.open())
                break
            except Away as away:
                if time.monotonic() > until:
                    raise Refused(
                        f"{self.server.place}: not reached for {OPENING_S:g} s ({away}); start it, or correct `url` "
                        "in [log]"
                    ) from None
                await asyncio.sleep(0.1)
        self._worker = asyncio.get_running_loop().create_task(self._serve())

    async def _level(self, last: int) -> None:
        """Take up the state of a log that ends at `last`."""
        roomy(self.server, self._largest)
        self._position, self._end, self._state = last, last, self._wanted.copy()
        if not last:
            return
        base = max(last - last % EVERY, 1)
        for record in await self._records(base, last - base + 1):
            if record.before is not None:
                agreed(record.before, self._wanted, self.server.place)
                self._state = record.before.copy()
            self._take(record)
        await self._learn_requests(last)
        if self._state.doubtful:
            await self._learn_events()

    async def _learn_requests(self, last: int) -> None:
        """Find the first record of the last day, and remember the requests from there on."""
        low, high, expired = 1, last, self._written - DAY
        while low < high:
            middle = (low + high) // 2
            ((at_middle),) = await self._records(middle, 1)
            low, high = (low, middle) if at_middle.written > expired else (middle + 1, high)
        while low <= last:
            for record in await self._records(low, min(EVERY, last - low + 1)):
                if record.envelope.request and not record.source:
                    self._requests.add(record.position, record.envelope)
                low += 1

    async def _records(self, position: int, count: int) -> list[Record]:
        found = await self.server.fetch(position, count) if count > 0 else ()
        if len(found) != max(count, 0):
            raise Away(f"{len(found)} of {count} entries came from position {position} on")
        return [opened(position + n, data, self.server.place) for n, (_, data) in enumerate(found)]

    def _take(self, record: Record) -> None:
        """Go on from a record that is stored."""
        state, envelope = self._state, record.envelope
        self._position, self._written = record.position, max(record.written, self._written)
        if record.source:
            state.marks[record.source] = record.number
        else:
            state.origin = max(state.origin, envelope.origin)

    async def close(self) -> None:
        """Finish what is being written where the server is there, and disconnect."""
        if self._closed:
            return
        self._closed = True
        if self._worker is not None:
            self._more.set()
            await asyncio.wait([self._worker], timeout=CLOSING_S)
            self._worker.cancel()
            await asyncio.wait([self._worker])
        await self.server.close()
        self.release()

    def release(self) -> None:
        """Let go of the request ids: nothing else is held before it is opened."""
        self._closed = True
        self._requests.close()

    # -- writing

    async def append(self, inputs: Sequence[Envelope]) -> list[Entry]:
        """Give each input the next origin; an input whose request id is known gives back its first entry."""
        reach("append.before")
        entries: list[Entry] = await self._add(self._append, inputs, inputs)
        reach("append.after")
        return entries

    async def relay(self, source: str, numbered: Sequence[tuple[int, Envelope]]) -> None:
        """Store derived events by ascending number; those up to the highest stored are passed over."""
        reach("relay.before")
        await self._add(self._relay, (source, numbered), [envelope for _, envelope in numbered])
        reach("relay.after")

    def _add(self, work: Work, argument: Any, envelopes: Sequence[Envelope]) -> "asyncio.Future[Any]":
        if self._closed:
            raise Refused(f"{self.server.place}: the log is closed; open it again")
        if self._failed is not None:
            raise self._failed
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.append((work, argument, sum(len(envelope.body) for envelope in envelopes), future))
        self._more.set()
        return future

    async def _serve(self) -> None:
        """Write group after group, until the log is closed and nothing is left."""
        while self._jobs or not self._closed:
            await self._more.wait()
            self._more.clear()
            while self._jobs:
                jobs = self._group()
                try:
                    await self._write(jobs)
                except BaseException as error:
                    cut = not isinstance(error, Exception)
                    told = Lost(
                        f"{self.server.place}: closed while it was away; whether this was stored is open"
                    )
                    for *_, future in jobs:
                        if not future.done():
                            future.set_exception(told if cut else error)
                    if cut:
                        raise

    def _group(self) -> list[Job]:
        """Return the jobs of the next group: as many as one may hold, and one at least."""
        size = count = 0
        while count < min(len(self._jobs), GROUP) and size < GROUP_BYTES:
            size += self._jobs[count][2]
            count += 1
        jobs, self._jobs = self._jobs[:count], self._jobs[count:]
        return jobs

    async def _write(self, jobs: list[Job]) -> None:
        """Store what a group asks for, and tell everybody how it went."""
        if self._failed is not None:
            raise self._failed
        before, start = self._state.copy(), self._position
        records: list[bytes] = []
        settled: list[Settled] = []
        for work, argument, _, future in jobs:
            state, position, count = self._state.copy(), self._position, len(records)
            try:
                settled.append((future, await work(argument, records), count, len(records)))
            except Exception as error:  # it alone holds what cannot be stored
                self._back(state, position)
                del records[count:]
                if not future.done():
                    future.set_exception(error)
        stored, why = await self._stored(start + 1, records) if records else (0, None)
        if why is not None:  # go on from what is there
            fresh = [self._fresh[start + 1 + n] for n in range(stored)]
            self._back(before, start)
            for record in fresh:
                self._take(record)
        self._end = self._position
        self._fresh.clear()
        for future, result, first, end in settled:
            if future.done():
                continue
            if end <= stored:
                future.set_result(result)
            else:
                assert why is not None
                partly = first < stored and not isinstance(why, Fenced)
                future.set_exception(Lost(f"a part of it was stored: {why}") if partly else why)

    def _back(self, state: State, position: int) -> None:
        self._state = state
        self._position = position
        self._requests.forget_after(position)

    async def _append(self, inputs: Sequence[Envelope], records: list[bytes]) -> list[Entry]:
        return [await self._once(given, records) for given in inputs]

    async def _once(self, given: Envelope, records: list[bytes]) -> Entry:
        if given.request and (position := self._requests.find(given)) is not None:
            found = self._fresh.get(position)
            if found is None:
                (found,) = await self._patient(self._records, position, 1)
            return found.entry(self._state.partitions)
        entry = self._put(given.accepted(self._state.origin + 1), records)
        if given.request:
            self._requests.add(entry.position, given)
        return entry

    async def _relay(self, work: tuple[str, Sequence[tuple[int, Envelope]]], records: list[bytes]) -> None:
        source, numbered = work
        for number, envelope in numbered:
            mark = self._state.marks.get(source, 0)
            if number <= mark:
                continue
            if number - mark >= LEAP and mark:
                await self._doubt()
            if envelope.origin > self._state.doubtful or not self._requests.stored(envelope):
                self._put(envelope, records, source, number)
            else:
                self._state.marks[source] = number

    async def _doubt(self) -> None:
        """Look from now on what is stored of the origins so far: the ledger has lost effects, and has them anew."""
        self._state.doubtful = self._state.origin
        await self._learn_events()
        self._changed = True

    async def _learn_events(self) -> None:
        position = 1
        while records := await self._patient(self._records, position, min(EVERY, self._end - position + 1)):
            for record in records:
                if record.source and record.envelope.origin <= self._state.doubtful:
                    self._requests.store(record.envelope)
            position += len(records)

    def skip(self, origin: int) -> None:
        """Give no origin up to this one: the ledger has effects of it, so the server has lost its entry."""
        if origin and not self._position:
            text = f"{self.server.place}: is empty, and effects of {origin} inputs are kept here"
            raise Refused(f"{text}: their events are in another log; name that one in [log]")
        if origin > self._state.origin:
            log.warning("%s: has lost origins %s to %s", self.server.place, self._state.origin + 1, origin)
            self._state.origin = origin

    def _put(self, envelope: Envelope, records: list[bytes], source: str = "", number: int = 0) -> Entry:
        """Return the entry of an envelope at the next position, with its record among those to be stored."""
        position = self._position + 1
        marked = self._changed or position == 1 or position % EVERY == 0
        before, self._changed = self._state.copy() if marked else None, False
        written = max(time.time_ns() // 1000, self._written)
        record = Record(position, envelope, written, source, number, before)
        data = sealed(record)
        if len(data) > self.server.largest:
            raise Refused(
                f"{envelope.kind} takes {len(data):,} bytes in the log, and {self.server.place} takes "
                f"{self.server.largest:,} at most; keep it in a file, and send where it is"
            )
        entry = record.entry(self._state.partitions)
        self._take(record)
        self._fresh[position] = record
        records.append(data)
        return entry

    async def _stored(self, first: int, records: list[bytes]) -> tuple[int, Refused | None]:
        """Return how many records are stored, and why not all. While the server is away, nothing is known, so wait."""
        done = 0
        while True:
            why: Refused | None = None
            try:
                await self.server.store(first + done, records[done:])
                return len(records), None
            except Refused as refused:
                why = refused
                if isinstance(refused, Fenced):
                    self._failed = refused
            except Away as away:
                log.warning("%s: away (%s); what is accepted waits for it", self.server.place, away)
                await self._reached(self._lives)
            try:
                done += await self._patient(self._there, first + done, records[done:])
            except Refused as refused:  # it is another host's by now
                self._failed = refused
                return done, refused
            if done == len(records):
                return done, None
            if why is not None:
                return done, why

    async def _there(self, first: int, records: list[bytes]) -> int:
        """Return how many of the records sent are stored. Fenced when others stand in their place."""
        last = await self.server.last()
        kept = await self.server.fetch(first, last - first + 1) if last >= first else ()
        if len(kept) != max(last - first + 1, 0):
            raise Away(f"{len(kept)} entries came, of {first} to {last}")
        if last < first - 1:
            raise Fenced(
                f"{self.server.place}: ends at {last} and had {first - 1} entries: it has lost some; {RESTORE}, or "
                "set the server up so that it keeps what it has taken"
            )
        if not same(kept, records):
            raise Fenced(
                f"{self.server.place}: another host has written there, so this one writes no more; stop one of the two"
            )
        return len(kept)

    async def _patient(self, ask: Callable[..., Awaitable[R]], *given: Any) -> R:
        """Return what the server says, however long it is away."""
        while True:
            lives = self._lives
            try:
                return await ask(*given)
            except Away as away:
                log.debug("%s: away (%s)", self.server.place, away)
                await self._reached(lives)

    async def _reached(self, lives: int) -> None:
        """Return once the server is reached again, whoever reaches it. Refused when it must not be written any more."""
        async with self._reaching:
            attempt = 0
            while self._lives == lives:
                try:
                    await self.server.open()
                    self._lives += 1
                except Away:
                    await asyncio.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
                    attempt += 1
                except Refused as refused:
                    self._failed = self._failed or refused
                    raise

    # -- reading

    async def read(self, position: int = 0, limit: int = 1000) -> Sequence[Entry]:
        """Return at most `limit` entries from a position on; Corrupted names the position of a bad one."""
        first = max(position, 1)
        count = min(limit, self._end - first + 1)
        if count <= 0:
            return []
        records = await self._patient(self._records, first, count)
        return [record.entry(self._state.partitions) for record in records]

    def acknowledge(self, consumer: str, position: int) -> None:
        """Take the hint; every entry is kept, so there is nothing to do."""
        reach("acknowledge.before")
        reach("acknowledge.after")
