"""MQTT 5 at the edge: a session that the broker keeps, acknowledged when the log has a message."""

import asyncio
import json
from pathlib import Path

import pytest

from allotrope.connectors.cloudevents.bindings import MQTT as BINDING
from allotrope.connectors.cloudevents.bindings import Carried
from allotrope.connectors.cloudevents.event import CloudEvent
from allotrope.testing.passages import Passage
from tests.connectors.brokers import MQTT, Bank, Paid, fresh, mqtt, properties, shop, until

pytestmark = pytest.mark.service


def paid(number: int, card: str = "c1", cents: int = 1) -> CloudEvent:
    data = json.dumps({"card": card, "cents": cents}).encode()
    return CloudEvent(
        id=str(number), source="/till", type="Paid", datacontenttype="application/json", data=data
    )


def source(topic: str, port: int = MQTT, **more: object) -> str:
    """A source of a name of its own: the broker keeps its session."""
    given = {"reject": f"{topic}/dead", **more}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items())
    return f'[source.{topic}]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{port}"\naddress = "{topic}"\n{lines}'


def sink(topic: str, port: int = MQTT, **more: object) -> str:
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in more.items())
    return f'[sink.{topic}]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{port}"\naddress = "{topic}"\n{lines}'


async def test_both_forms_come_in(tmp_path: Path) -> None:
    topic = fresh("in")
    async with mqtt() as client, shop(tmp_path, source(topic)) as host:
        await until(lambda: ready(client, topic, host))
        for number in range(10):
            sent = (BINDING.binary if number % 2 else BINDING.structured)(paid(number))
            await client.publish(topic, sent.body, 1, properties=properties(sent))
        again = BINDING.binary(paid(3))
        await client.publish(topic, again.body, 1, properties=properties(again))
        last = BINDING.binary(paid(99, "last"))
        await client.publish(topic, last.body, 1, properties=properties(last))
        await until(lambda: host.of(Bank).total("last"))

        async def counted() -> bool:
            return await host.of(Bank).total("c1") == 10

        await until(counted)


async def ready(client: object, topic: str, host: object) -> bool:
    """Whether the source is subscribed: what is sent before that nobody keeps."""
    sent = BINDING.binary(paid(-1, "probe"))
    await client.publish(topic, sent.body, 1, properties=properties(sent))  # type: ignore[attr-defined]
    await asyncio.sleep(0.02)
    return bool(await host.of(Bank).total("probe"))  # type: ignore[attr-defined]


async def test_what_cannot_be_taken_says_why(tmp_path: Path) -> None:
    topic = fresh("in")
    async with mqtt(f"{topic}/dead") as client, shop(tmp_path, source(topic, event="Paid")) as host:
        await until(lambda: ready(client, topic, host))
        for carried, told in (
            (Carried((), b"not json"), "no JSON"),
            (Carried((), b'{"card": "c1"}'), "cents"),
            (BINDING.binary(CloudEvent(id="1", source="/a", type="Lost")), "takes Paid"),
            (Carried((("specversion", "0.3"), ("id", "1")), b""), "another version"),
        ):
            await client.publish(topic, carried.body, 1, properties=properties(carried))
            message = await asyncio.wait_for(anext(aiter(client.messages)), 10)
            named = dict(message.properties.UserProperty)  # type: ignore[union-attr]
            assert told in named["reason"]
            assert named["source"].endswith(topic)
            assert message.payload == carried.body
        await client.publish(topic, b'{"card": "plain", "cents": 7}', 1)
        assert await until(lambda: host.of(Bank).total("plain")) == 7


async def test_the_broker_keeps_what_comes_while_nobody_is_there(tmp_path: Path) -> None:
    topic = fresh("in")
    async with mqtt() as client:
        async with shop(tmp_path, source(topic)) as host:
            await until(lambda: ready(client, topic, host))
        for number in range(30):
            sent = BINDING.binary(paid(number))
            await client.publish(topic, sent.body, 1, properties=properties(sent))
        for least in (5, 15, 30):
            async with shop(tmp_path, source(topic, prefetch=3)) as host:

                async def some(least: int = least) -> bool:
                    return await host.of(Bank).total("c1") >= least

                await until(some)
                await host.settled()
        async with shop(tmp_path, "") as host:
            assert await host.of(Bank).total("c1") == 30


async def test_nothing_is_lost_or_doubled_when_the_line_is_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    topic = fresh("in")
    async with (
        mqtt() as client,
        Passage(MQTT) as line,
        shop(tmp_path, source(topic, line.port, prefetch=8)) as host,
    ):
        await until(lambda: ready(client, topic, host))
        for number in range(100):
            sent = BINDING.binary(paid(number, f"c{number % 5}"))
            await client.publish(topic, sent.body, 1, properties=properties(sent))
            if number % 25 == 10:
                line.cut()
                line.mend()

        async def all_of_them() -> bool:
            return sum([await host.of(Bank).total(f"c{n}") for n in range(5)]) >= 100

        await until(all_of_them)
        await host.settled()
        assert [await host.of(Bank).total(f"c{n}") for n in range(5)] == [20] * 5
        assert "trying again" in caplog.text


async def test_events_go_out_in_order_and_go_on_after_a_cut(tmp_path: Path) -> None:
    topic = fresh("out")
    async with mqtt(topic) as client, Passage(MQTT) as line:
        text = sink(topic, line.port, events=["Booked"])
        seen: list[str] = []
        for start in (0, 20):
            async with shop(tmp_path, text) as host:
                for number in range(start, start + 20):
                    await host.publish(Paid("c1", 1))
                    if number % 10 == 5:
                        line.cut()
                        line.mend()
                while len(seen) < start + 20:
                    message = await asyncio.wait_for(anext(aiter(client.messages)), 10)
                    named = message.properties
                    read = BINDING.read(named.UserProperty, message.payload, named.ContentType)  # type: ignore[union-attr]
                    assert (read.source, read.type) == ("shop", "Booked")
                    sequence = str(read.extensions["sequence"])
                    if sequence not in seen:
                        assert json.loads(read.data or b"")["total"] == len(seen) + 1
                        seen.append(sequence)
        assert seen == sorted(seen)
