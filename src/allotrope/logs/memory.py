"""The log in memory: no file, no wait. It ends with the process, and holds the newest entries only."""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from allotrope.kernel.errors import Refused
from allotrope.kernel.tables import Durability
from allotrope.storage.partitions import partition_of
from allotrope.storage.ports import Entry, Envelope

DAY = 86_400_000_000  # microseconds


class MemoryLog:
    """A log that keeps the newest `entries`, and `keep` request ids, those for a day at most."""

    durability: Durability = "none"

    def __init__(self, partitions: int = 1, keep: int = 100_000, entries: int = 1_000) -> None:
        self._partitions, self._keep = partitions, keep
        self._entries: deque[Entry] = deque(maxlen=min(entries, keep))
        self._requests: dict[tuple[str, str, str], Entry] = {}
        self._marks: dict[str, int] = {}
        self._position = self._origin = 0
        self._closed = False

    async def open(self) -> None:
        """Be open already: there is nothing to reach."""

    async def append(self, inputs: Sequence[Envelope]) -> list[Entry]:
        """Give each input the next origin; an input whose request id is known gives back its first entry."""
        if self._closed:
            raise Refused("the log is closed; make a new one")
        entries = []
        for given in inputs:
            if given.request:
                entries.append(self._once(given))
            else:
                entries.append(self._add(given))
        return entries

    def _once(self, given: Envelope) -> Entry:
        name = (given.tenant, given.kind, given.request)
        found = self._requests.get(name)
        if found is not None and found.envelope.at > given.at - DAY:
            return found
        self._requests.pop(name, None)  # so that their order stays that of time
        self._forget(given.at - DAY)
        self._requests[name] = entry = self._add(given)
        return entry

    def _forget(self, expired: int) -> None:
        requests = self._requests
        while requests:
            name = next(iter(requests))
            if len(requests) < self._keep and requests[name].envelope.at > expired:
                return
            del requests[name]

    def _add(self, given: Envelope) -> Entry:
        self._origin += 1
        return self._store(given.accepted(self._origin))

    def _store(self, envelope: Envelope) -> Entry:
        self._position = position = self._position + 1
        partition = partition_of(envelope.key, self._partitions) if self._partitions > 1 else 0
        entry = Entry(position, partition, envelope)
        self._entries.append(entry)
        return entry

    async def relay(self, source: str, numbered: Sequence[tuple[int, Envelope]]) -> None:
        """Store derived events by ascending number; those up to the highest seen are passed over."""
        mark = self._marks.get(source, 0)
        for number, envelope in numbered:
            if number > mark:
                self._store(envelope)
                mark = number
        self._marks[source] = mark

    async def read(self, position: int = 0, limit: int = 1000) -> Sequence[Entry]:
        """Return at most `limit` entries from a position on, in order."""
        first = self._position - len(self._entries) + 1
        start = max(position - first, 0)
        return list(islice(self._entries, start, start + limit))

    def skip(self, origin: int) -> None:
        """Give no origin up to this one."""
        self._origin = max(self._origin, origin)

    def acknowledge(self, consumer: str, position: int) -> None:
        """Take the hint; the bound on entries is by number, so there is nothing to do."""

    async def close(self) -> None:
        """Refuse further writes."""
        self.release()

    def release(self) -> None:
        """Refuse further writes."""
        self._closed = True
