"""The log in the first partition of a Kafka topic: each record is a message whose key is its position.

A transaction stores a group as a whole, and its id lets one producer in: whoever comes later shuts the former out. So
that a second host is refused rather than the first shut out, the writer is also the one member of a consumer group that
has the partition. Tested against the mock cluster inside librdkafka only. Not here: brokers acknowledge before they
sync, so a power cut of all replicas may take what was acknowledged.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from allotrope.kernel.errors import Refused
from allotrope.logs.server import Away
from allotrope.storage.ports import Fenced

R = TypeVar("R")
ANSWER_S = 5.0
HELD_S = 15.0  # how long a group may take to see that the former writer has gone
_BESIDE = 1024  # bytes of a message beside its record
_FENCED = (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.INVALID_PRODUCER_ID_MAPPING)
_FULL = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.POLICY_VIOLATION)


class KafkaServer:
    """One partition of Kafka, and the right to be the one who writes it."""

    def __init__(self, url: str, place: str, name: str, largest: int = 1_048_576) -> None:
        """Take the addresses; nothing is reached before `open`. A message may have `largest` bytes."""
        self.place, self.largest = place, largest - _BESIDE
        self._servers = url.removeprefix("kafka://")
        self._topic, self._message_bytes = f"allotrope_{name}", largest
        self._me = f"{socket.gethostname()} process {os.getpid()}"
        self._thread = ThreadPoolExecutor(1, "allotrope-kafka")  # the client blocks
        self._producer: Producer | None = None
        self._holder: Consumer | None = None
        self._reader: Consumer | None = None
        self._next = 0  # position at which the reader stands
        self._keeping: asyncio.Task[None] | None = None

    async def _do(self, work: Callable[..., R], *given: Any) -> R:
        """Return what `work` returns, in the thread of the client; its errors as those of a server."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() in _FENCED:
                raise Fenced(f"{self.place}: another host writes this log now; stop one of the two") from None
            if cause.code() in _FULL:
                raise Refused(f"{self.place}: not stored: {cause.str()}", 5.0) from None
            raise Away(cause.str()) from error

    # -- life

    async def open(self) -> int:
        """Let no other writer in, and return the last position."""
        last = await self._do(self._opened)
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())
        return last

    def _opened(self) -> int:
        if self._holder is None:
            self._holder = self._hold()
        if self._producer is None:
            producer = Producer(
                self._settings() | {
                    "transactional.id": self._topic, "acks": "all", "enable.idempotence": True, "linger.ms": 0,
                    "message.max.bytes": self._message_bytes, "transaction.timeout.ms": 10_000,
                }
            )  # fmt: skip
            producer.init_transactions(ANSWER_S)
            self._producer = producer
        if self._reader is None:
            self._reader = Consumer(
                self._settings() | {
                    "group.id": f"{self._topic}_reader", "enable.auto.commit": False, "auto.offset.reset": "error",
                    "isolation.level": "read_committed", "enable.partition.eof": True,
                    "fetch.message.max.bytes": self._message_bytes + _BESIDE, "fetch.wait.max.ms": 20,
                }
            )  # fmt: skip
        return self._last()

    def _settings(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": self._servers, "client.id": self._me, "log_level": 0, "socket.timeout.ms": 5000,
            "allow.auto.create.topics": True, "error_cb": lambda _error: None,
        }  # fmt: skip

    def _hold(self) -> Consumer:
        """Return the member that has the partition. Refused when another one keeps it.

        Partitions are dealt out in the order of names, so that of who came first stays with it.
        """
        settings = {
            "group.id": f"{self._topic}_writer", "partition.assignment.strategy": "range",
            "client.id": f"{time.time_ns():020} {self._me}", "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500, "enable.auto.commit": False, "max.poll.interval.ms": 600_000,
        }  # fmt: skip
        holder = Consumer(self._settings() | settings)
        metadata = holder.list_topics(self._topic, ANSWER_S)  # makes it, where topics make themselves
        if (error := metadata.topics[self._topic].error) is not None and error.code() not in (
            KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE,
        ):  # fmt: skip
            holder.close()
            raise Refused(f"{self.place}: topic {self._topic}: {error.str()}")
        had: set[int] = set()
        holder.subscribe(
            [self._topic], on_assign=lambda _, parts: had.update(part.partition for part in parts)
        )
        until = time.monotonic() + HELD_S
        while 0 not in had and time.monotonic() < until:
            holder.poll(0.1)
        if 0 not in had:
            holder.close()
            raise Refused(
                f"{self.place}: in use by another host, which has the group {self._topic}_writer; stop that "
                "process, or give this one another `name` in [log]"
            )
        holder.pause([TopicPartition(self._topic, part) for part in had])
        return holder

    async def _keep(self) -> None:
        """Stay a member of the group; a member that never asks is taken for dead."""
        while True:
            await asyncio.sleep(1.0)
            holder = self._holder
            if holder is not None:
                await self._do(holder.poll, 0)

    async def close(self) -> None:
        """Leave the group, so that another writer may come, and disconnect."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
            self._keeping = None
        await asyncio.get_running_loop().run_in_executor(self._thread, self._left)
        self._thread.shutdown(wait=False)

    def _left(self) -> None:
        for consumer in (self._holder, self._reader):
            if consumer is not None:
                consumer.close()
        self._holder = self._reader = self._producer = None

    async def remove(self) -> None:
        """Delete the topic."""

        def removed() -> None:
            admin = AdminClient(self._settings())
            for future in admin.delete_topics([self._topic], request_timeout=ANSWER_S).values():
                future.result()

        await self._do(removed)

    # -- records

    async def store(self, first: int, records: Sequence[bytes]) -> None:
        """Store records in one transaction, if the log ends before them."""
        await self._do(self._stored, first, records)

    def _stored(self, first: int, records: Sequence[bytes]) -> None:
        producer = self._producer
        if producer is None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        faults: list[KafkaError] = []

        def told(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                faults.append(error)

        try:
            producer.begin_transaction()
            for position, record in enumerate(records, first):
                key = position.to_bytes(8, "big")
                while True:
                    try:
                        producer.produce(self._topic, record, key, partition=0, on_delivery=told)
                        break
                    except BufferError:
                        producer.poll(0.1)
            producer.commit_transaction(ANSWER_S)
        except KafkaException as error:
            self._producer = None  # whatever it has begun is ended by the next one's first step
            raise KafkaException(faults[0] if faults else error.args[0]) from error

    async def last(self) -> int:
        """Return the last position."""
        return await self._do(self._last)

    def _last(self) -> int:
        """Return the position of the last record: what stands at the very end may be no record."""
        reader = self._reader
        assert reader is not None
        low, high = reader.get_watermark_offsets(TopicPartition(self._topic, 0), ANSWER_S)
        step = 2
        while high > low:
            start = max(high - step, low)
            if found := self._from(start, 1 << 30, until=high):
                return found[-1][0]
            if start == low:
                return 0
            step *= 4
        return 0

    def _from(self, offset: int, limit: int, *, until: int | None = None) -> list[tuple[int, bytes]]:
        """Return records from an offset on, to the end that there is now."""
        reader = self._reader
        assert reader is not None
        self._next = 0
        reader.assign([TopicPartition(self._topic, 0, offset)])
        return self._taken(limit, until)

    def _taken(self, limit: int, until: int | None = None) -> list[tuple[int, bytes]]:
        reader, found = self._reader, list[tuple[int, bytes]]()
        assert reader is not None
        late = time.monotonic() + ANSWER_S
        while len(found) < limit:
            message = reader.poll(0.2)
            if message is None:
                if time.monotonic() > late:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
                continue
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    break
                raise KafkaException(error)
            found.append((int.from_bytes(message.key() or b"", "big"), message.value() or b""))
        if found:
            self._next = found[-1][0] + 1
        return found

    async def fetch(self, position: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return records from a position on."""
        return await self._do(self._fetched, position, limit)

    def _fetched(self, position: int, limit: int) -> Sequence[tuple[int, bytes]]:
        reader = self._reader
        if reader is None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        if self._next == position and position:
            return self._taken(limit)
        low, high = reader.get_watermark_offsets(TopicPartition(self._topic, 0), ANSWER_S)
        low = max(low, position - 1)  # there are as many messages as positions, and more beside them
        while high - low > 64:
            middle = (low + high) // 2
            probe = self._from(middle, 1)
            low, high = (middle, high) if probe and probe[0][0] <= position else (low, middle)
        found = [entry for entry in self._from(low, 1) if entry[0] >= position]
        while len(found) < limit:
            more = self._taken(limit - len(found))
            if not more:
                break
            found += [entry for entry in more if entry[0] >= position]
        return found
