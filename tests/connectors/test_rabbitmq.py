"""RabbitMQ at the edge: what is taken is in the log before it is acknowledged, what cannot be says why."""

import asyncio
import json
from pathlib import Path

import pytest

from allotrope.connectors.cloudevents.bindings import AMQP, Carried
from allotrope.connectors.cloudevents.event import CloudEvent
from allotrope.testing.passages import Passage
from tests.connectors.brokers import GATES, RABBIT, Bank, Paid, fresh, rabbit, shop, until

pytestmark = pytest.mark.service
LOGIN = "amqp://guest:guest@127.0.0.1"


def paid(number: int, card: str = "c1", cents: int = 1) -> CloudEvent:
    data = json.dumps({"card": card, "cents": cents}).encode()
    return CloudEvent(
        id=str(number), source="/till", type="Paid", datacontenttype="application/json", data=data
    )


def source(queue: str, port: int = RABBIT, **more: object) -> str:
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in more.items())
    return f'[source.till]\nkind = "rabbitmq"\nurl = "{LOGIN}:{port}/"\naddress = "{queue}"\n{lines}'


def sink(exchange: str, port: int = RABBIT, **more: object) -> str:
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in more.items())
    return f'[sink.books]\nkind = "rabbitmq"\nurl = "{LOGIN}:{port}/"\naddress = "{exchange}"\n{lines}'


@pytest.mark.parametrize("preset", ["monolith", "modular-monolith", "event-driven"])
async def test_events_come_in_under_each_preset(tmp_path: Path, preset: str) -> None:
    async with rabbit(fresh("in")) as queue, shop(tmp_path, source(queue.queue.name), preset) as host:
        for number in range(20):
            form = AMQP.binary if number % 2 else AMQP.structured
            await queue.send(form(paid(number, f"c{number % 3}")))
        await queue.send(AMQP.binary(paid(0)))  # once more

        async def counted() -> bool:
            return [await host.of(Bank).total(f"c{n}") for n in range(3)] == [7, 7, 6]

        await until(counted)
        await host.settled()
        assert await counted()
        assert await queue.left() == 0


async def test_what_cannot_be_taken_says_why(tmp_path: Path) -> None:
    async with rabbit(fresh("in")) as queue, rabbit(fresh("dead")) as dead:
        text = source(queue.queue.name, reject=dead.queue.name, event="Paid")
        async with shop(tmp_path, text) as host:
            for carried, told in (
                (Carried((), b"not json", "application/json"), "no JSON"),
                (Carried((), b'{"card": "c1"}', "application/json"), "cents"),
                (AMQP.binary(CloudEvent(id="1", source="/a", type="Lost")), "takes Paid"),
                (Carried((("ce-specversion", "1.0"),), b"{}"), "no `id`"),
            ):
                await queue.send(carried, route="some.route")
                message = await dead.get()
                assert told in message.headers["reason"]
                assert message.headers["source"].endswith("till")
                assert (message.body, message.routing_key) == (carried.body, "some.route")
            await queue.send(AMQP.binary(paid(1)))
            await until(lambda: host.of(Bank).total("c1"))


async def test_plain_json_is_known_by_its_message_id(tmp_path: Path) -> None:
    body = Carried((), b'{"card": "c1", "cents": 5}', "application/json")
    async with rabbit(fresh("in")) as queue, shop(tmp_path, source(queue.queue.name, event="Paid")) as host:
        for ident in ("m1", "m1", "m2", "m1"):
            await queue.send(body, ident)
        await queue.send(AMQP.binary(paid(1, "c2")))
        await until(lambda: host.of(Bank).total("c2"))

        async def counted() -> bool:
            return await host.of(Bank).total("c1") == 10

        await until(counted)


async def test_nothing_is_lost_or_doubled_when_the_line_is_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        rabbit(fresh("in")) as queue,
        Passage(RABBIT) as line,
        shop(tmp_path, source(queue.queue.name, line.port, prefetch=8)) as host,
    ):
        for number in range(100):
            await queue.send(AMQP.binary(paid(number, f"c{number % 5}")))
            if number % 25 == 10:
                line.cut()
                line.mend()

        async def all_of_them() -> bool:
            return sum([await host.of(Bank).total(f"c{n}") for n in range(5)]) >= 100

        await until(all_of_them)
        await host.settled()
        assert [await host.of(Bank).total(f"c{n}") for n in range(5)] == [20] * 5
        assert "trying again" in caplog.text


async def test_where_there_is_no_room_messages_wait_in_the_order_of_their_keys(tmp_path: Path) -> None:
    """While one input is at work the log takes one more: what was given beyond that is tried until there is room."""
    narrow = 'reply = "accepted"\nwindow = 1\n[log]\nbacklog = 1\n'
    gate = GATES["c0"] = asyncio.Event()
    async with rabbit(fresh("in")) as queue:
        for number in range(60):
            await queue.send(AMQP.binary(paid(number, f"c{number % 2}", number)))
        async with shop(tmp_path, narrow + source(queue.queue.name, prefetch=20)) as host:

            async def full() -> bool:
                return host.waiting > 0 and await queue.left() < 60

            await until(full)
            await asyncio.sleep(0.3)  # for some tries: that nothing more is taken has no moment
            taken = [entry for entry in await host.log.read() if entry.envelope.kind == "Paid"]
            assert len(taken) < 5
            assert await queue.left() >= 60 - 20 - len(taken)
            gate.set()
            wanted = [" ".join(map(str, range(card, 60, 2))) for card in (0, 1)]

            async def whole() -> bool:
                return [(await host.of(Bank).order(f"c{card}")).strip() for card in (0, 1)] == wanted

            await until(whole)
    GATES.clear()


async def test_acknowledged_is_what_the_log_holds(tmp_path: Path) -> None:
    """A host that is closed at any moment has taken what the queue no longer has; the next one takes the rest."""
    async with rabbit(fresh("in")) as queue:
        for number in range(60):
            await queue.send(AMQP.binary(paid(number)))
        for cents in (10, 30):
            async with shop(tmp_path, source(queue.queue.name, prefetch=4)) as host:

                async def some(least: int = cents) -> bool:
                    return await host.of(Bank).total("c1") >= least

                await until(some)
        async with shop(tmp_path, source(queue.queue.name)) as host:

            async def whole() -> bool:
                return await host.of(Bank).total("c1") >= 60

            await until(whole)
            await host.settled()
            assert await host.of(Bank).total("c1") == 60


async def test_events_go_out_in_order_and_go_on_after_a_restart(tmp_path: Path) -> None:
    async with rabbit(fresh("out")) as out, Passage(RABBIT) as line:
        text = sink(out.exchange.name, line.port, events=["Booked"])
        for start in (0, 20):
            async with shop(tmp_path, text) as host:
                for number in range(start, start + 20):
                    await host.publish(Paid("c1", 1))
                    if number % 10 == 5:
                        line.cut()
                        line.mend()
                await host.settled()
                seen: dict[str, tuple[str, int]] = {}
                while len(seen) < 20:
                    message = await out.get()
                    event = AMQP.read(message.headers.items(), message.body, message.content_type)
                    assert (event.source, event.type, message.routing_key) == ("shop", "Booked", "Booked")
                    total = json.loads(event.data or b"")["total"]
                    sequence = str(event.extensions["sequence"])
                    if total > start:  # one of the life before may come again
                        assert seen.setdefault(event.id, (sequence, total)) == (sequence, total)
                firsts = list(seen.values())
                assert sorted(firsts) == sorted(firsts, key=lambda pair: pair[1])
                assert {total for _, total in firsts} == set(range(start + 1, start + 21))


async def test_a_sink_begins_where_it_is_told(tmp_path: Path) -> None:
    async with rabbit(fresh("out")) as out:
        async with shop(tmp_path, "") as host:
            await host.publish(Paid("c1", 1))
            await host.settled()
        async with shop(tmp_path, sink(out.exchange.name, events=["*"])) as host:
            await host.publish(Paid("c2", 1))
            first = await out.get()
            assert json.loads(first.body)["card"] == "c2"
        (tmp_path / "sink-books.json").unlink()
        async with shop(
            tmp_path, sink(out.exchange.name, events=["Paid"], start="beginning", form="structured")
        ):
            found = [json.loads((await out.get()).body) for _ in range(3)]
            assert {event["data"]["card"] for event in found if "data" in event} == {"c1", "c2"}


async def test_one_trace_goes_through_both_brokers_and_the_app(tmp_path: Path) -> None:
    hop = f"00-{'a' * 32}-{'b' * 16}-01"
    async with rabbit(fresh("in")) as queue, rabbit(fresh("out")) as out:
        text = source(queue.queue.name) + sink(out.exchange.name, events=["Booked"])
        async with shop(tmp_path, text) as host:
            carried = AMQP.binary(paid(1))
            await queue.send(Carried((*carried.headers, ("traceparent", hop)), carried.body, carried.media))
            message = await out.get()
            await host.settled()
            event = AMQP.read(message.headers.items(), message.body, message.content_type)
            spans = {span.span_id: span for span in host.services.tracer.finished}
    assert {f"{span.trace_id:032x}" for span in spans.values()} == {"a" * 32}
    above = {span.name: spans[span.parent_id].name for span in spans.values() if span.parent_id in spans}
    assert above == {"Bank.book": "Paid"}
    assert [span.parent_id for span in spans.values() if span.name == "Paid"] == [int("b" * 16, 16)]
    sender = str(event.extensions["traceparent"]).split("-")
    assert (sender[1], spans[int(sender[2], 16)].name) == ("a" * 32, "Bank.book")


async def test_a_log_that_was_put_back_is_gone_on_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a restore the log ends before what was sent: what comes then must not be taken for sent."""
    async with rabbit(fresh("out")) as out:
        (tmp_path / "sink-books.json").write_text('{"position": 900}', "utf-8")
        async with shop(tmp_path, sink(out.exchange.name, events=["Paid"])) as host:
            await host.publish(Paid("c1", 1))
            assert json.loads((await out.get()).body) == {"card": "c1", "cents": 1}
            assert "an older one was put back" in caplog.text


async def test_a_broker_that_is_not_there_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with rabbit(fresh("in")) as queue:
        text = source("no-such-queue") + sink("no-such-exchange", events=["Paid"])
        async with shop(
            tmp_path, text + source(queue.queue.name).replace("source.till", "source.other")
        ) as host:
            await host.publish(Paid("c1", 1))
            await queue.send(AMQP.binary(paid(1, "c2")))
            await until(lambda: host.of(Bank).total("c2"))
            await until(lambda: "no-such-queue" in caplog.text and "no-such-exchange" in caplog.text)
            assert "guest:guest" not in caplog.text
            await asyncio.wait_for(host.settled(), 10)
