"""NATS JetStream at the edge. Streams are somebody else's; the consumer that is made there is ours, by its name."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, TimeoutError
from nats.js.api import AckPolicy, ConsumerConfig

from allotrope.connectors.cloudevents.bindings import Carried
from allotrope.connectors.ports import ANSWER_S, Arrived, Away
from allotrope.planning.topology import Sink, Source

IDENT, REASON, ORIGIN = "Nats-Msg-Id", "reason", "source"
KEPT_S = 4.0  # after which the server gives a message again, of which it has heard nothing
LOOK_S = 1.0  # for how long one request for messages stands
AT_ONCE = 64
MOST_REASON = 500


@contextlib.contextmanager
def _answering(place: str) -> Iterator[None]:
    try:
        yield
    except (Error, OSError, ValueError) as error:
        raise Away(f"{place}: {str(error) or type(error).__name__}") from error


@contextlib.asynccontextmanager
async def _client(url: str, place: str) -> AsyncIterator[Client]:
    async def unsaid(error: Exception) -> None:
        """Keep quiet: whoever uses the connection learns of its end, and says so."""

    with _answering(place):
        client = await nats.connect(
            url.split(","), allow_reconnect=False, connect_timeout=int(ANSWER_S), error_cb=unsaid,
            max_reconnect_attempts=1,
        )  # fmt: skip
    try:
        yield client
    finally:
        with contextlib.suppress(Error, OSError):
            await client.close()


class NatsInlet:
    """One consumer of a stream."""

    def __init__(self, name: str, source: Source, client: Client) -> None:
        """Consume over `client`."""
        self.name, self.source, self.client = name, source, client
        self.place = f"subject {source.address}"
        self._here: deque[Msg] = deque()
        self._held: dict[
            int, Msg
        ] = {}  # those that were given and are neither taken nor rejected, by their place
        self._asked: Any = None
        self._saying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make the consumer, or take it up. Away when no stream has the subject."""
        wanted = ConsumerConfig(
            ack_policy=AckPolicy.EXPLICIT, max_ack_pending=self.source.prefetch, ack_wait=KEPT_S
        )
        with _answering(self.place):
            js = self.client.jetstream(timeout=ANSWER_S)
            self._asked = await js.pull_subscribe(self.source.address, durable=self.name, config=wanted)
        self._saying = asyncio.get_running_loop().create_task(self._say())

    async def _say(self) -> None:
        """Have the server wait for what is being taken; when we are gone it need not wait for long."""
        while True:
            await asyncio.sleep(KEPT_S / 4)
            for message in [*self._held.values(), *self._here]:
                with contextlib.suppress(Error):
                    await message.in_progress()

    async def close(self) -> None:
        """Give back what is not taken, so that the next one has it at once."""
        if self._saying is not None:
            self._saying.cancel()
            await asyncio.gather(self._saying, return_exceptions=True)
        with contextlib.suppress(Error, OSError):
            for message in [*self._held.values(), *self._here]:
                await message.nak()
            await self.client.flush(1)

    async def next(self) -> Arrived:
        """Return the next message."""
        while not self._here:
            if self.client.is_closed:
                raise Away(f"{self.place}: the server has gone")
            with _answering(self.place), contextlib.suppress(TimeoutError):
                self._here.extend(await self._asked.fetch(min(self.source.prefetch, AT_ONCE), LOOK_S))
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # nats-py takes it for a time-out
                raise asyncio.CancelledError
        message = self._here.popleft()
        self._held[message.metadata.sequence.stream] = message
        headers = dict(message.headers or {})
        ident = headers.pop(IDENT, "")
        return Arrived(tuple(headers.items()), message.data, "", ident, message.subject, message)

    async def acknowledge(self, arrived: Arrived) -> None:
        """Have the consumer forget a message."""
        with _answering(self.place):
            await arrived.handle.ack()
        self._held.pop(arrived.handle.metadata.sequence.stream, None)

    async def reject(self, arrived: Arrived, reason: str) -> None:
        """Send a message to the subject for what is rejected, where a stream has to take it."""
        plain = reason.replace("\r", " ").replace("\n", " ")[:MOST_REASON].encode("ascii", "replace").decode()
        headers = {name: str(value) for name, value in arrived.headers}
        with _answering(self.place):
            js = self.client.jetstream(timeout=ANSWER_S)
            await js.publish(
                self.source.reject, arrived.body, headers={**headers, REASON: plain, ORIGIN: self.name}
            )
        await self.acknowledge(arrived)


class NatsOutlet:
    """One subject of a stream."""

    def __init__(self, client: Client, subject: str) -> None:
        """Publish to it."""
        self.client, self.subject = client, subject
        self._js = client.jetstream(timeout=ANSWER_S)

    async def send(self, carried: Carried, kind: str) -> None:
        """Return once the stream has a message."""
        with _answering(f"subject {self.subject}"):
            await self._js.publish(self.subject, carried.body, headers=dict(carried.headers))


@contextlib.asynccontextmanager
async def inlet(name: str, source: Source) -> AsyncIterator[NatsInlet]:
    """Hold a consumer of the stream that has the subject of a source."""
    async with _client(source.url, f"subject {source.address}") as client:
        made = NatsInlet(name, source, client)
        await made.open()
        try:
            yield made
        finally:
            await made.close()


@contextlib.asynccontextmanager
async def outlet(name: str, sink: Sink) -> AsyncIterator[NatsOutlet]:
    """Hold a connection to the stream that has the subject of a sink."""
    async with _client(sink.url, f"subject {sink.address}") as client:
        yield NatsOutlet(client, sink.address)
