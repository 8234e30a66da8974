"""NATS JetStream and Kafka at the edge: streams that keep what was read, and remember how far we are.

Kafka is the mock cluster of its client's own library, which is no Kafka.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import nats
import pytest

from allotrope.connectors.cloudevents.bindings import KAFKA, NATS, Binding, Carried
from allotrope.connectors.cloudevents.event import CloudEvent
from allotrope.testing.passages import Passage
from tests.connectors.brokers import Bank, Paid, fresh, shop, there, until
from tests.servers import kafka_mock

pytestmark = pytest.mark.service
NATS_PORT = 4222
Read = list[tuple[dict[str, Any], bytes]]


class Stream:
    """A broker with topics of one test: what was written to one can be read from its beginning."""

    def __init__(self, kind: str, port: int, binding: Binding, send: Any, read: Any) -> None:
        self.kind, self.port, self.binding = kind, port, binding
        self.send: Callable[[str, Carried], Any] = send
        self.read: Callable[[str, int], Any] = read

    def source(self, topic: str, port: int = 0, **more: object) -> str:
        given = {"reject": f"{topic}-dead", **more}
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items())
        url = f"{self.kind}://127.0.0.1:{port or self.port}"
        return f'[source.{topic}]\nkind = "{self.kind}"\nurl = "{url}"\naddress = "{topic}"\n{lines}'

    def sink(self, topic: str, port: int = 0) -> str:
        url = f"{self.kind}://127.0.0.1:{port or self.port}"
        text = f'[sink.{topic}]\nkind = "{self.kind}"\nurl = "{url}"\naddress = "{topic}"\n'
        return text + 'events = ["Booked"]\n'


@contextlib.asynccontextmanager
async def jetstream(topic: str) -> AsyncIterator[Stream]:
    there(NATS_PORT, "NATS")
    client = await nats.connect(f"nats://127.0.0.1:{NATS_PORT}")
    js = client.jetstream()
    await js.add_stream(name=topic, subjects=[topic, f"{topic}-dead"])

    async def send(subject: str, carried: Carried) -> None:
        await js.publish(subject, carried.body, headers=dict(carried.headers))

    async def read(subject: str, count: int) -> Read:
        found: Read = []
        asked = await js.pull_subscribe(subject)
        async with asyncio.timeout(30):
            while len(found) < count:
                with contextlib.suppress(nats.errors.TimeoutError):
                    for message in await asked.fetch(count - len(found), timeout=1):
                        found.append((dict(message.headers or {}), message.data))
        await asked.unsubscribe()
        return found

    try:
        yield Stream("nats", NATS_PORT, NATS, send, read)
    finally:
        await js.delete_stream(topic)
        await client.close()


@contextlib.asynccontextmanager
async def kafka(topic: str) -> AsyncIterator[Stream]:
    from confluent_kafka import Consumer, Producer

    with kafka_mock() as mock:
        server = {"bootstrap.servers": f"127.0.0.1:{mock.port}", "log_level": 2}
        producer = Producer(server)
        for name in (topic, f"{topic}-dead"):
            await asyncio.to_thread(producer.list_topics, name, 10)  # the mock makes it

        async def send(name: str, carried: Carried) -> None:
            headers = [(key, value.encode()) for key, value in carried.headers]
            producer.produce(name, carried.body, carried.key or None, headers=headers)  # type: ignore[arg-type]
            await asyncio.to_thread(producer.flush)

        def read_all(name: str, count: int) -> Read:
            consumer = Consumer({**server, "group.id": fresh("reader"), "auto.offset.reset": "earliest"})
            consumer.subscribe([name])
            found: Read = []
            while len(found) < count:
                for message in consumer.consume(count, 0.5):
                    if message.error() is None:
                        headers = {key: (value or b"").decode() for key, value in message.headers() or ()}  # type: ignore[str-unpack]
                        found.append((headers, message.value() or b""))
            consumer.close()
            return found

        async def read(name: str, count: int) -> Read:
            return await asyncio.wait_for(asyncio.to_thread(read_all, name, count), 30)

        yield Stream("kafka", mock.port, KAFKA, send, read)


# A member of the mock's group is gone when its session has timed out, and not when it leaves.
RESTARTS = pytest.mark.parametrize(
    "opened", [jetstream, pytest.param(kafka, marks=pytest.mark.long)], ids=["nats", "kafka mock"]
)
KINDS = pytest.mark.parametrize("opened", [jetstream, kafka], ids=["nats", "kafka mock"])


def paid(number: int, card: str = "c1", cents: int = 1) -> CloudEvent:
    data = json.dumps({"card": card, "cents": cents}).encode()
    return CloudEvent(
        id=str(number), source="/till", type="Paid", datacontenttype="application/json", data=data
    )


@RESTARTS
async def test_each_is_taken_once_through_restarts(tmp_path: Path, opened: Any) -> None:
    topic = fresh("in")
    async with opened(topic) as stream:
        for number in range(30):
            form = stream.binding.binary if number % 2 else stream.binding.structured
            await stream.send(topic, form(paid(number)))
        await stream.send(topic, stream.binding.binary(paid(3)))
        for least in (5, 30):
            async with shop(tmp_path, stream.source(topic, prefetch=4)) as host:

                async def some(least: int = least) -> bool:
                    return await host.of(Bank).total("c1") >= least

                await until(some)
        async with shop(tmp_path, stream.source(topic)) as host:
            await stream.send(topic, stream.binding.binary(paid(99, "last")))
            await until(lambda: host.of(Bank).total("last"))
            await host.settled()
            assert await host.of(Bank).total("c1") == 30


@KINDS
async def test_what_cannot_be_taken_says_why(tmp_path: Path, opened: Any) -> None:
    topic = fresh("in")
    async with opened(topic) as stream, shop(tmp_path, stream.source(topic, event="Paid")) as host:
        await stream.send(topic, Carried((), b"not json"))
        await stream.send(topic, stream.binding.binary(CloudEvent(id="1", source="/a", type="Lost")))
        await stream.send(topic, Carried((), b'{"card": "plain", "cents": 7}'))
        assert await until(lambda: host.of(Bank).total("plain")) == 7
        dead = await stream.read(f"{topic}-dead", 2)
        assert {body for _, body in dead} == {b"not json", b""}
        reasons = " ".join(headers["reason"] for headers, _ in dead)
        assert "no JSON" in reasons
        assert "takes Paid" in reasons


@KINDS
async def test_events_go_out_in_order(tmp_path: Path, opened: Any) -> None:
    topic = fresh("out")
    async with opened(topic) as stream:
        for start in (0, 15):
            async with shop(tmp_path, stream.sink(topic)) as host:
                for _ in range(15):
                    await host.publish(Paid("c1", 1))
                await host.settled()
                found = await stream.read(topic, start + 15)
        events = {
            event.id: json.loads(event.data or b"")["total"]
            for event in (stream.binding.read(headers.items(), body) for headers, body in found)
        }
        assert list(events.values()) == list(range(1, 31))


async def test_a_line_to_nats_that_is_cut_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """No line to the mock can be cut: clients go where it says that it is."""
    topic = fresh("in")
    async with (
        jetstream(topic) as stream,
        Passage(NATS_PORT) as line,
        shop(tmp_path, stream.source(topic, line.port, prefetch=8)) as host,
    ):
        for number in range(100):
            await stream.send(topic, NATS.binary(paid(number, f"c{number % 5}")))
            if number % 25 == 10:
                line.cut()
                line.mend()

        async def all_of_them() -> bool:
            return sum([await host.of(Bank).total(f"c{n}") for n in range(5)]) >= 100

        await until(all_of_them)
        await host.settled()
        assert [await host.of(Bank).total(f"c{n}") for n in range(5)] == [20] * 5
