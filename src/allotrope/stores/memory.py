"""The ledger in memory: commits at once and keeps rows as they are given. It ends with the process."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from allotrope.kernel.errors import Refused
from allotrope.kernel.tables import Durability
from allotrope.storage.ports import Commit, Envelope

DAY = 86_400_000_000  # microseconds


class MemoryLedger:
    """A ledger that keeps the newest `keep` decision records and the outcomes of a day."""

    durability: Durability = "none"

    def __init__(self, keep: int = 200_000) -> None:
        self._tables: dict[str, dict[str, bytes]] = {}
        self._inbox: dict[int, list[tuple[str, str]]] = {}  # origin -> (consumer, path)
        self._outbox: dict[int, Envelope] = {}
        self._outcomes: dict[str, tuple[bytes, int]] = {}
        self._records: deque[tuple[str, int, str, bytes]] = deque(maxlen=keep)
        self._number = self._floor = self._newest = 0
        self._closed = False

    def get(self, table: str, key: str) -> bytes | None:
        """Return a committed row."""
        rows = self._tables.get(table)
        return None if rows is None else rows.get(key)

    def scan(self, table: str) -> Iterator[tuple[str, bytes]]:
        """Yield the rows of a table, as they are now, in the order of their keys."""
        rows = self._tables.get(table, {})
        yield from [(key, rows[key]) for key in sorted(rows)]

    async def commit(self, effect: Commit) -> bool:
        """Store all of it; an effect in the inbox already, or of a finished origin, is passed over: False."""
        if self._closed:
            raise Refused("the ledger is closed; make a new one")
        if effect.origin < self._floor:
            return False
        name = (effect.consumer, effect.path)
        names = self._inbox.setdefault(effect.origin, [])
        if name in names:
            return False
        names.append(name)
        for table, key, row in effect.writes:
            if row is None:
                self._tables.get(table, {}).pop(key, None)
            else:
                self._tables.setdefault(table, {})[key] = row
        for envelope in effect.outbox:
            self._number += 1
            self._outbox[self._number] = envelope
        if effect.request:
            self._answer(effect)
        if effect.record:
            self._records.append((effect.consumer, effect.origin, effect.path, effect.record))
        return True

    def _answer(self, effect: Commit) -> None:
        self._newest = max(self._newest, effect.at)
        outcomes, expired = self._outcomes, self._newest - DAY
        outcomes.pop(effect.request, None)  # so that the order stays that of time
        outcomes[effect.request] = (effect.outcome, effect.at)
        while outcomes[first := next(iter(outcomes))][1] <= expired:
            del outcomes[first]
            if not outcomes:
                return

    def inbox(self) -> Iterator[tuple[str, int, str]]:
        """Yield (consumer, origin, path) of every effect of an unfinished origin, by origin and path."""
        names = [(c, origin, path) for origin, pairs in self._inbox.items() for c, path in pairs]
        yield from sorted(names, key=lambda name: (name[1], name[2], name[0]))

    def floor(self) -> int:
        """Return the lowest origin that may be unfinished."""
        return self._floor

    def finish(self, floor: int) -> None:
        """Forget inbox names below `floor`, at once."""
        if floor <= self._floor:
            return
        if floor - self._floor < len(self._inbox):
            done: Iterable[int] = range(self._floor, floor)
        else:
            done = [origin for origin in self._inbox if origin < floor]
        for origin in done:
            self._inbox.pop(origin, None)
        self._floor = floor

    def outbox(self, limit: int = 1000) -> Sequence[tuple[int, Envelope]]:
        """Return numbered events that were committed and not yet relayed, in order."""
        return list(islice(self._outbox.items(), limit))

    async def relayed(self, numbers: Iterable[int]) -> None:
        """Forget outbox events that the log has stored."""
        for number in numbers:
            self._outbox.pop(number, None)

    def outcome(self, request: str) -> bytes | None:
        """Return the recorded answer of a request of the last 24 hours, counted back from the newest one."""
        found = self._outcomes.get(request)
        return found[0] if found is not None and found[1] > self._newest - DAY else None

    def records(self, origin: int | None = None) -> Iterator[tuple[str, int, str, bytes]]:
        """Yield (consumer, origin, path, record) in the order of origin and path."""
        found = [record for record in self._records if origin is None or record[1] == origin]
        yield from sorted(found, key=lambda record: (record[1], record[2], record[0]))

    def close(self) -> None:
        """Refuse further writes."""
        self._closed = True
