"""The recorders of the package `eventsourcing` over a log and a ledger, as an application of ours would be kept.

The ledger decides: one commit holds an aggregate's new events as rows, how far upstream was followed, and the outbox.
The relay carries the outbox to the log, whose positions are the notification ids. Nothing is kept beside these two.
Not here: several hosts at once, which neither the log nor this allows.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    IntegrityError,
    ListenNotifySubscription,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Tracking,
    TrackingRecorder,
)

from allotrope.kernel.codec import decode, encode
from allotrope.kernel.tables import Durability
from allotrope.logs.sqlite import SqliteLog
from allotrope.storage.ports import Commit, Entry, Envelope
from allotrope.stores.sqlite import SqliteLedger

R = TypeVar("R")
CONSUMER, TRACKED = "Recorder.insert", "tracked"


class Stores:
    """A log, a ledger, and the one loop that works on both."""

    def __init__(self, folder: Path, durability: Durability) -> None:
        """Open both, and carry to the log what a former life has committed and not carried."""
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.log = SqliteLog(folder, durability)
        self.ledger = SqliteLedger(folder, durability)
        self._one = asyncio.Lock()  # origins have an order, and so have the positions of what they publish
        self._origin = max([self.ledger.floor(), *(origin for _, origin, _ in self.ledger.inbox())])
        self.newest = 0  # position
        self.listeners: set[Event] = set()
        self.run(self._begin())

    async def _begin(self) -> None:
        await self.log.open()
        await self._carry()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Return what `work` returns, done in the loop, to a caller in any thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def look(self, work: Callable[[], R]) -> R:
        """Return what `work` returns, done in the loop: a ledger is used by one thread."""

        async def looking() -> R:
            return work()

        return self.run(looking())

    async def insert(self, events: Sequence[StoredEvent], tracking: Tracking | None) -> list[int]:
        """Store all or nothing, and return the positions in the log. IntegrityError when something is there already."""
        async with self._one:
            origin = self._origin + 1
            rows: dict[tuple[str, str], bytes] = {}
            for event in events:
                place = _table(event.originator_id), _key(event.originator_version)
                if place in rows or self.ledger.get(*place) is not None:
                    raise IntegrityError(f"{place[0]}: version {event.originator_version} is there already")
                rows[place] = encode((event.topic, event.state))
            if tracking is not None:
                rows[TRACKED, tracking.application_name] = self._further(tracking)
            if not rows:
                return []
            self._origin = origin
            writes = tuple((table, key, row) for (table, key), row in rows.items())
            outbox = tuple(_sent(event, origin, number) for number, event in enumerate(events))
            new = await self.ledger.commit(Commit(CONSUMER, origin, "", writes, outbox))
            assert new, f"origin {origin} was given twice"
            self.ledger.finish(origin + 1)
            return await self._carry()

    def _further(self, tracking: Tracking) -> bytes:
        known = self.tracked(tracking.application_name)
        if known is not None and known >= tracking.notification_id:
            raise IntegrityError(f"{tracking.application_name} was followed up to {known} already")
        return encode(tracking.notification_id)

    async def _carry(self) -> list[int]:
        """Relay the outbox; return the positions of what has come into the log since the last time."""
        while sent := self.ledger.outbox():
            await self.log.relay("ledger", sent)
            await self.ledger.relayed(number for number, _ in sent)
        positions: list[int] = []
        while entries := await self.log.read(self.newest + 1, 1000):
            positions += [entry.position for entry in entries]
            self.newest = positions[-1]
        for listener in list(self.listeners) if positions else ():
            listener.set()
        return positions

    def tracked(self, application: str) -> int | None:
        """Return how far an application was followed."""
        row = self.ledger.get(TRACKED, application)
        return None if row is None else decode(row, int)

    def close(self) -> None:
        """Close both, and end the loop; twice is no fault."""
        if self._loop.is_closed():
            return
        self.run(self.log.close())
        self.look(self.ledger.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _table(originator: UUID | str) -> str:
    return f"events of {originator}"


def _key(version: int) -> str:
    return f"{version:020}"


def _sent(event: StoredEvent, origin: int, number: int) -> Envelope:
    path = f"/{CONSUMER}#{number:06}"
    body = encode((event.originator_version, event.state))
    return Envelope(event.topic, str(event.originator_id), body, 0, origin, path)


def _notification(entry: Entry) -> Notification:
    version, state = decode(entry.envelope.body, tuple[int, bytes])
    return Notification(UUID(entry.envelope.key), version, entry.envelope.kind, state, entry.position)


class LogAggregateRecorder(AggregateRecorder):
    """Keeps the events of aggregates; their ids are UUIDs."""

    def __init__(self, stores: Stores) -> None:
        """Work on opened stores."""
        self.stores = stores

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Store all or nothing."""
        self.stores.run(self.stores.insert(stored_events, None))
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Return events of an aggregate by version."""
        rows = self.stores.look(lambda: list(self.stores.ledger.scan(_table(originator_id))))
        found = [
            StoredEvent(originator_id, int(key), *decode(row, tuple[str, bytes]))
            for key, row in (reversed(rows) if desc else rows)
            if (gt is None or int(key) > gt) and (lte is None or int(key) <= lte)
        ]
        return found[:limit]


class LogApplicationRecorder(LogAggregateRecorder, ApplicationRecorder):
    """Gives the events of all aggregates in the order of the log as well."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Store all or nothing, with how far upstream was followed; return the notification ids."""
        return self.stores.run(self.stores.insert(stored_events, kwargs.get("tracking")))

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Return notifications between two ids, at most `limit`."""
        first = 1 if start is None else max(1, start + (not inclusive_of_start))
        return self.stores.run(self._select(first, limit, stop, topics))

    async def _select(
        self, position: int, limit: int, stop: int | None, topics: Sequence[str]
    ) -> list[Notification]:
        found: list[Notification] = []
        while entries := await self.stores.log.read(position, limit):
            position = entries[-1].position + 1
            for entry in entries:
                if stop is not None and entry.position > stop:
                    return found
                if not topics or entry.envelope.kind in topics:
                    found.append(_notification(entry))
                if len(found) == limit:
                    return found
        return found

    def max_notification_id(self) -> int | None:
        """Return the log's newest position."""
        return self.stores.newest or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> "LogSubscription":
        """Return an iterator over notifications, also those to come."""
        return LogSubscription(self, gt, topics)


class LogSubscription(ListenNotifySubscription[LogApplicationRecorder]):
    """Looks again whenever something was carried to the log."""

    def __init__(self, recorder: LogApplicationRecorder, gt: int | None, topics: Sequence[str]) -> None:
        """Begin after a notification."""
        super().__init__(recorder, gt, topics)
        recorder.stores.listeners.add(self._has_been_notified)

    def stop(self) -> None:
        """End the iteration."""
        super().stop()
        with contextlib.suppress(KeyError):
            self._recorder.stores.listeners.remove(self._has_been_notified)


class LogTrackingRecorder(TrackingRecorder):
    """Remembers how far other applications were followed."""

    def __init__(self, stores: Stores) -> None:
        """Work on opened stores."""
        self.stores = stores

    def insert_tracking(self, tracking: Tracking) -> None:
        """Remember one more; IntegrityError when it is not the highest."""
        self.stores.run(self.stores.insert([], tracking))

    def max_tracking_id(self, application_name: str) -> int | None:
        """Return how far an application was followed."""
        return self.stores.look(lambda: self.stores.tracked(application_name))


class LogProcessRecorder(LogTrackingRecorder, LogApplicationRecorder, ProcessRecorder):
    """Both, in one commit."""
