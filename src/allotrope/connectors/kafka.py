"""Kafka at the edge: topics of somebody else, read by a group of our name. The client keeps its connections itself."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from allotrope.connectors.cloudevents.bindings import Carried
from allotrope.connectors.ports import ANSWER_S, Arrived, Away
from allotrope.planning.topology import Sink, Source

REASON, ORIGIN = "reason", "source"
LOOK_S = 0.2  # for how long one look at the client takes a thread
AT_ONCE = 64
_RETRIED = (KafkaError._PARTITION_EOF, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)
Place = tuple[str, int]  # topic and partition


@contextlib.contextmanager
def _answering(place: str) -> Iterator[None]:
    try:
        yield
    except (KafkaException, BufferError, TimeoutError) as error:
        raise Away(f"{place}: {str(error) or type(error).__name__}") from error


async def _apart(work: Any, *given: Any) -> Any:
    """Return what blocking work gives, in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, partial(work, *given))


def _settings(url: str) -> dict[str, Any]:
    servers = ",".join(part.rpartition("://")[2] for part in url.split(","))
    return {"bootstrap.servers": servers, "log_level": 2}


class KafkaOutlet:
    """One topic."""

    def __init__(self, url: str, topic: str) -> None:
        """Produce to it: in order, each record once for the broker."""
        self.topic, self.place = topic, f"topic {topic}"
        more = {
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 5,
            "delivery.timeout.ms": int(ANSWER_S * 1000),
        }
        self._producer = Producer({**_settings(url), **more})
        self._loop = asyncio.get_running_loop()
        self._polling = self._loop.create_task(self._poll())

    async def _poll(self) -> None:
        while True:
            await _apart(self._producer.poll, LOOK_S)

    async def send(self, carried: Carried, kind: str) -> None:
        """Return once all replicas have a record."""
        await self.produce(carried.body, carried.key or None, [(n, v.encode()) for n, v in carried.headers])

    async def produce(self, body: bytes, key: str | bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """Return once all replicas have a record."""
        done: asyncio.Future[None] = self._loop.create_future()

        def ended(error: KafkaError | None, message: Message) -> None:
            self._loop.call_soon_threadsafe(_settle, done, error)

        with _answering(self.place):
            self._producer.produce(self.topic, body, key, headers=headers, on_delivery=ended)  # type: ignore[arg-type]  # its stubs know no list of pairs
            await done

    async def close(self) -> None:
        """Give up what is not sent."""
        self._polling.cancel()
        await asyncio.gather(self._polling, return_exceptions=True)
        self._producer.purge()


def _settle(done: asyncio.Future[None], error: KafkaError | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(KafkaException(error))


class KafkaInlet:
    """One topic, as a group reads it. Of each partition what is stored is the first record that is not taken."""

    def __init__(self, name: str, source: Source, dead: KafkaOutlet) -> None:
        """Read; what is rejected goes to `dead`."""
        self.name, self.source, self.dead = name, source, dead
        self.place = f"topic {source.address}"
        self._consumer = Consumer({
            **_settings(source.url), "group.id": name, "auto.offset.reset": "earliest", "session.timeout.ms": 6000,
            "enable.auto.offset.store": False, "enable.auto.commit": True, "auto.commit.interval.ms": 1000,
        })  # fmt: skip
        self._here: deque[Any] = deque()  # its stubs let any part of a record be missing
        self._open: dict[Place, list[int]] = {}  # offsets that were given and not yet acknowledged, in order
        self._next: dict[Place, int] = {}  # behind the newest that was given
        self._looking: asyncio.Future[Any] | None = None
        self._held, self._room = 0, asyncio.Event()

    async def open(self) -> None:
        """Join the group. Away when there is no such topic."""
        with _answering(self.place):
            known = await _apart(self._consumer.list_topics, self.source.address, ANSWER_S)
            if (error := known.topics[self.source.address].error) is not None:
                raise Away(f"{self.place}: {error.str()}")
            self._consumer.subscribe([self.source.address], on_revoke=self._revoked)

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        for place in places:  # somebody else of the group has them now, from what is stored on
            self._open.pop((place.topic, place.partition), None)
            self._next.pop((place.topic, place.partition), None)

    async def next(self) -> Arrived:
        """Return the next record, once fewer than the prefetch are being taken."""
        while self._held >= self.source.prefetch:
            self._room.clear()
            await self._room.wait()
        while not self._here:
            with _answering(self.place):
                count = min(self.source.prefetch, AT_ONCE)
                self._looking = asyncio.ensure_future(_apart(self._consumer.consume, count, LOOK_S))
                found = await asyncio.shield(self._looking)
            for message in found:
                if (error := message.error()) is None:
                    self._here.append(message)
                elif error.code() not in _RETRIED:
                    raise Away(f"{self.place}: {error.str()}")
        message = self._here.popleft()
        place = message.topic(), message.partition()
        self._open.setdefault(place, []).append(message.offset())
        self._next[place] = message.offset() + 1
        self._held += 1
        headers = tuple((name, value or b"") for name, value in message.headers() or ())
        ident = f"{place[1]}/{message.offset()}"  # a record has a place for good
        return Arrived(headers, message.value() or b"", "", ident, message.topic(), message)

    async def acknowledge(self, arrived: Arrived) -> None:
        """Have the group go on behind a record once all before it in its partition are taken as well."""
        self._held -= 1
        self._room.set()
        place, offset = (arrived.handle.topic(), arrived.handle.partition()), arrived.handle.offset()
        waiting = self._open.get(place, [])
        if offset in waiting:
            waiting.remove(offset)
            first = waiting[0] if waiting else self._next[place]
            with _answering(self.place):
                self._consumer.store_offsets(offsets=[TopicPartition(*place, first)])

    async def reject(self, arrived: Arrived, reason: str) -> None:
        """Send a record to the topic for what is rejected."""
        headers = [(n, v if isinstance(v, bytes) else v.encode()) for n, v in arrived.headers]
        more = [*headers, (REASON, reason[:1000].encode()), (ORIGIN, self.name.encode())]
        await self.dead.produce(arrived.body, arrived.handle.key(), more)
        await self.acknowledge(arrived)

    async def close(self) -> None:
        """Leave the group, with what was stored; not while a thread still looks, or the group would not learn of it."""
        if self._looking is not None:
            await asyncio.wait((self._looking,))
        with contextlib.suppress(KafkaException, RuntimeError):
            await _apart(self._consumer.close)


@contextlib.asynccontextmanager
async def inlet(name: str, source: Source) -> AsyncIterator[KafkaInlet]:
    """Hold a member of the group that reads the topic of a source."""
    dead = KafkaOutlet(source.url, source.reject)
    made = KafkaInlet(name, source, dead)
    try:
        await made.open()
        yield made
    finally:
        await made.close()
        await dead.close()


@contextlib.asynccontextmanager
async def outlet(name: str, sink: Sink) -> AsyncIterator[KafkaOutlet]:
    """Hold a producer to the topic of a sink."""
    made = KafkaOutlet(sink.url, sink.address)
    try:
        yield made
    finally:
        await made.close()
