"""The brokers of this machine, with queues and topics of each test's own, and a host beside them."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aio_pika
import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from allotrope import App, Event, Table, component, compose, on, query
from allotrope.compose.connectors import connected
from allotrope.connectors.cloudevents.bindings import Carried
from allotrope.planning.documents import document_of
from allotrope.runtime.host import Host
from tests.servers import missing

RABBIT, MQTT = 5672, 1883
WAIT_S = 30
GATES: dict[str, asyncio.Event] = {}  # of cards whose bookings wait


class Paid(Event, key="card"):
    """Somebody has paid."""

    card: str
    cents: int


class Booked(Event, key="card"):
    """It is in the books."""

    card: str
    total: int


@component
class Bank:
    totals: Table[int]
    orders: Table[str]

    @on(Paid)
    async def book(self, paid: Paid) -> Booked:
        if (gate := GATES.get(paid.card)) is not None:
            await gate.wait()
        total = (await self.totals.get(paid.card) or 0) + paid.cents
        await self.totals.put(paid.card, total)
        await self.orders.put(paid.card, f"{await self.orders.get(paid.card) or ''} {paid.cents}")
        return Booked(paid.card, total)

    @query
    async def order(self, card: str) -> str:
        """The amounts of a card in the order in which they were booked."""
        return await self.orders.get(card) or ""

    @query
    async def total(self, card: str) -> int:
        return await self.totals.get(card) or 0


app = App("shop", Bank)


def fresh(what: str) -> str:
    return f"{what}-{secrets.token_hex(4)}"


def there(port: int, what: str) -> None:
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        missing(what)


@contextlib.asynccontextmanager
async def shop(folder: Path, text: str, preset: str = "modular-monolith") -> AsyncIterator[Host]:
    """Run the app with its connectors."""
    host = compose.build(
        app, document_of(f'base = "{preset}"\n{text}', "layout.toml", compose.preset_text), folder
    )
    try:
        await host.start()
        async with connected(host, folder):
            yield host
    finally:
        await host.close()


async def until(true: Callable[[], Awaitable[Any] | Any]) -> Any:
    """Return what `true` gives once it is something."""
    async with asyncio.timeout(WAIT_S):
        while True:
            found = true()
            found = await found if asyncio.iscoroutine(found) else found
            if found:
                return found
            await asyncio.sleep(0.01)


class Rabbit:
    """A queue bound to an exchange, both gone when the test is over."""

    def __init__(self, channel: Any, exchange: Any, queue: Any) -> None:
        self.channel, self.exchange, self.queue = channel, exchange, queue

    async def send(self, carried: Carried, message_id: str = "", route: str = "#") -> None:
        headers: Any = dict(carried.headers)
        message = aio_pika.Message(
            carried.body, headers=headers, content_type=carried.media, message_id=message_id or None
        )
        await self.exchange.publish(message, route)

    async def left(self) -> int:
        """How many messages wait in the queue; those that were given and not acknowledged do not count."""
        found = await self.channel.declare_queue(self.queue.name, passive=True)
        return int(found.declaration_result.message_count)

    async def get(self) -> Any:
        async def one() -> Any:
            return await self.queue.get(fail=False, no_ack=True)

        return await until(one)


@contextlib.asynccontextmanager
async def rabbit(name: str) -> AsyncIterator[Rabbit]:
    there(RABBIT, "RabbitMQ")
    connection = await aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{RABBIT}/")
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC)
        queue = await channel.declare_queue(name)
        await queue.bind(exchange, "#")
        try:
            yield Rabbit(channel, exchange, queue)
        finally:
            await queue.delete(if_unused=False, if_empty=False)
            await exchange.delete()


def properties(carried: Carried) -> Properties:
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has it without types
    if carried.headers:
        made.UserProperty = list(carried.headers)
    if carried.media:
        made.ContentType = carried.media
    return made


@contextlib.asynccontextmanager
async def mqtt(*topics: str) -> AsyncIterator[aiomqtt.Client]:
    there(MQTT, "Mosquitto")
    async with aiomqtt.Client("127.0.0.1", MQTT, protocol=aiomqtt.ProtocolVersion.V5) as client:
        for topic in topics:
            await client.subscribe(topic, 1)
        yield client
