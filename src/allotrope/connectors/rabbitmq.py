"""RabbitMQ at the edge, over AMQP 0.9.1. Queues and exchanges are somebody else's: none is made here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage
from aiormq.exceptions import AMQPError

from allotrope.connectors.cloudevents.bindings import Carried
from allotrope.connectors.cloudevents.event import text_of
from allotrope.connectors.ports import ANSWER_S, Arrived, Away
from allotrope.planning.topology import Sink, Source

LOOK_S = 10.0  # how often an idle queue is looked at: the broker does not say that it was deleted
REASON, ORIGIN = "reason", "source"


@contextlib.contextmanager
def _answering(place: str) -> Iterator[None]:
    try:
        yield
    except (AMQPError, OSError, TimeoutError, aio_pika.exceptions.ChannelInvalidStateError) as error:
        raise Away(f"{place}: {str(error) or type(error).__name__}") from error


@contextlib.asynccontextmanager
async def _channel(url: str, place: str) -> AsyncIterator[AbstractChannel]:
    with _answering(place):
        connection = await aio_pika.connect(url, timeout=ANSWER_S)
    try:
        with _answering(place):
            channel = await connection.channel(publisher_confirms=True)
        yield channel
    finally:
        with contextlib.suppress(AMQPError, OSError, TimeoutError):
            await connection.close()


class RabbitInlet:
    """One queue, as it is consumed."""

    def __init__(self, name: str, source: Source, channel: AbstractChannel) -> None:
        """Consume over `channel`."""
        self.name, self.source, self.channel = name, source, channel
        self.place = f"queue {source.address}"
        self._here: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        self._refuse: AbstractExchange | None = None

    async def open(self) -> None:
        """Begin to consume. Away when there is no such queue, or no exchange for what is rejected."""
        with _answering(self.place):
            await self.channel.set_qos(prefetch_count=self.source.prefetch)
            if self.source.reject:
                self._refuse = await self.channel.get_exchange(self.source.reject, ensure=True)
            queue = await self.channel.get_queue(self.source.address, ensure=True)
            self.channel.close_callbacks.add(lambda *_: self._here.put_nowait(None))
            await queue.consume(self._arrive, timeout=ANSWER_S)

    async def _arrive(self, message: AbstractIncomingMessage) -> None:
        self._here.put_nowait(message)

    async def next(self) -> Arrived:
        """Return the next message."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    message = await self._here.get()
                break
            except TimeoutError:
                with _answering(self.place):
                    await self.channel.get_queue(self.source.address, ensure=True)
        if message is None:
            raise Away(f"{self.place}: the broker has gone")
        headers = tuple((name, _header(value)) for name, value in (message.headers or {}).items())
        return Arrived(
            headers,
            message.body,
            message.content_type or "",
            message.message_id or "",
            message.routing_key or "",
            message,
        )

    async def acknowledge(self, arrived: Arrived) -> None:
        """Have the queue forget a message."""
        with _answering(self.place):
            await arrived.handle.ack()

    async def reject(self, arrived: Arrived, reason: str) -> None:
        """Send a message to the exchange for what is rejected; without one, to where the queue sends what it drops."""
        with _answering(self.place):
            if self._refuse is None:
                await arrived.handle.reject(requeue=False)
                return
            message: AbstractIncomingMessage = arrived.handle
            kept = aio_pika.Message(
                message.body, headers={**(message.headers or {}), REASON: reason[:1000], ORIGIN: self.name},
                content_type=message.content_type, message_id=message.message_id,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )  # fmt: skip
            # Mandatory: nobody would miss a message that no queue takes.
            await self._refuse.publish(kept, arrived.route, mandatory=True, timeout=ANSWER_S)
            await message.ack()


class RabbitOutlet:
    """One exchange."""

    def __init__(self, exchange: AbstractExchange, place: str) -> None:
        """Publish to it."""
        self.exchange, self.place = exchange, place

    async def send(self, carried: Carried, kind: str) -> None:
        """Return once the broker has confirmed a message, whose routing key is the type of its event."""
        headers: Any = dict(carried.headers)
        message = aio_pika.Message(
            carried.body, headers=headers, content_type=carried.media, type=kind,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )  # fmt: skip
        with _answering(self.place):
            await self.exchange.publish(message, kind, mandatory=False, timeout=ANSWER_S)


@contextlib.asynccontextmanager
async def inlet(name: str, source: Source) -> AsyncIterator[RabbitInlet]:
    """Hold a connection to the queue of a source."""
    async with _channel(source.url, f"queue {source.address}") as channel:
        made = RabbitInlet(name, source, channel)
        await made.open()
        yield made


@contextlib.asynccontextmanager
async def outlet(name: str, sink: Sink) -> AsyncIterator[RabbitOutlet]:
    """Hold a connection to the exchange of a sink."""
    place = f"exchange {sink.address}"
    async with _channel(sink.url, place) as channel:
        with _answering(place):
            exchange = await channel.get_exchange(sink.address, ensure=True)
        yield RabbitOutlet(exchange, place)


def _header(value: Any) -> str | bytes:
    return value if isinstance(value, bytes) else text_of(value)
