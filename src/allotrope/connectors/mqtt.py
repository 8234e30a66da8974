"""MQTT 5 at the edge: QoS 1, and a session that the broker keeps while nobody is connected."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from allotrope.connectors.cloudevents.bindings import Carried
from allotrope.connectors.ports import ANSWER_S, Arrived, Away
from allotrope.planning.topology import Sink, Source

FOREVER_S = 0xFFFF_FFFF  # of a session
REASON, ORIGIN = "reason", "source"
MOST_REASON = 1000
QOS = 1


class _Session(aiomqtt.Client):
    """A connection that acknowledges what it is told to, and says when the broker refuses a message."""

    refused = ""

    def hold(self) -> None:
        """Acknowledge nothing by itself: aiomqtt would do so before the log has a message, and has no switch for it."""
        self._client.manual_ack_set(True)

    def acknowledge(self, message: aiomqtt.Message) -> None:
        """Have the broker forget a message."""
        if (code := self._client.ack(message.mid, message.qos)) != 0:
            raise aiomqtt.MqttError(f"could not be acknowledged: {code}")

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, *more: Any) -> None:
        if reason_code.is_failure:
            self.refused = str(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, *more)

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, *more: Any) -> None:
        super()._on_disconnect(client, userdata, flags, reason_code, *more)
        self._loop.call_soon_threadsafe(self._unanswered, str(reason_code))

    def _unanswered(self, why: str) -> None:
        """End the wait for a broker that has gone before it answered: aiomqtt would wait on."""
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError(f"the broker has gone: {why}"))

    async def sent(self, topic: str, body: bytes, properties: Properties) -> None:
        """Return once the broker has a message."""
        await self.publish(topic, body, QOS, properties=properties, timeout=ANSWER_S)
        if self.refused:
            raise aiomqtt.MqttError(f"the broker refuses: {self.refused}")


@contextlib.contextmanager
def _answering(place: str) -> Iterator[None]:
    try:
        yield
    except (aiomqtt.MqttError, OSError, ValueError) as error:
        raise Away(f"{place}: {str(error) or type(error).__name__}") from error


class MqttInlet:
    """One subscription."""

    def __init__(self, name: str, source: Source, session: _Session) -> None:
        """Subscribe over `session`."""
        self.name, self.source, self.session = name, source, session
        self.place = f"topic {source.address}"

    async def next(self) -> Arrived:
        """Return the next message."""
        with _answering(self.place):
            message = await anext(aiter(self.session.messages))
        named = _named(message.properties)
        headers: tuple[tuple[str, str], ...] = tuple(named.get("UserProperty", ()))
        return Arrived(
            headers, message.payload, named.get("ContentType", ""), "", str(message.topic), message
        )

    async def acknowledge(self, arrived: Arrived) -> None:
        """Have the broker forget a message."""
        if arrived.handle.qos:
            with _answering(self.place):
                self.session.acknowledge(arrived.handle)

    async def reject(self, arrived: Arrived, reason: str) -> None:
        """Send a message to the topic for what is rejected."""
        more = [*arrived.headers, (REASON, reason[:MOST_REASON]), (ORIGIN, self.name)]
        with _answering(self.place):
            await self.session.sent(self.source.reject, arrived.body, _properties(more, arrived.media))
        await self.acknowledge(arrived)


class MqttOutlet:
    """One topic."""

    def __init__(self, session: _Session, topic: str) -> None:
        """Publish to it."""
        self.session, self.place, self.topic = session, f"topic {topic}", topic
        self._gone = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        """Raise MqttError once the broker has gone: what is being published would wait for its answer."""
        async for _ in self.session.messages:
            pass

    async def send(self, carried: Carried, kind: str) -> None:
        """Return once the broker has a message."""
        properties = _properties(carried.headers, carried.media)
        sending = asyncio.get_running_loop().create_task(
            self.session.sent(self.topic, carried.body, properties)
        )
        try:
            await asyncio.wait((sending, self._gone), return_when=asyncio.FIRST_COMPLETED)
            with _answering(self.place):
                if not sending.done():
                    await self._gone
                await sending
        finally:
            sending.cancel()

    async def close(self) -> None:
        """Watch no more."""
        self._gone.cancel()
        await asyncio.gather(self._gone, return_exceptions=True)


@contextlib.asynccontextmanager
async def inlet(name: str, source: Source) -> AsyncIterator[MqttInlet]:
    """Hold a connection that is subscribed to the topics of a source."""
    wanted = _fresh(PacketTypes.CONNECT)
    wanted.SessionExpiryInterval, wanted.ReceiveMaximum = FOREVER_S, source.prefetch
    async with _session(source.url, f"topic {source.address}", name, wanted) as session:
        made = MqttInlet(name, source, session)
        with _answering(made.place):
            codes: Any = await session.subscribe(source.address, QOS, timeout=ANSWER_S)
        if refused := [str(code) for code in codes if getattr(code, "is_failure", False)]:
            raise Away(f"{made.place}: the broker refuses: {refused[0]}")
        yield made


@contextlib.asynccontextmanager
async def outlet(name: str, sink: Sink) -> AsyncIterator[MqttOutlet]:
    """Hold a connection to the broker of a sink."""
    async with _session(sink.url, f"topic {sink.address}", name, None) as session:
        made = MqttOutlet(session, sink.address)
        try:
            yield made
        finally:
            await made.close()


@contextlib.asynccontextmanager
async def _session(url: str, place: str, name: str, wanted: Properties | None) -> AsyncIterator[_Session]:
    """Hold a connection; with `wanted` it takes up the session that the broker has under its name."""
    at = urlsplit(url)
    secure = at.scheme == "mqtts"
    session = _Session(
        at.hostname or "", at.port or (8883 if secure else 1883), identifier=name,
        username=unquote(at.username) if at.username else None,
        password=unquote(at.password) if at.password else None,
        protocol=aiomqtt.ProtocolVersion.V5, clean_start=wanted is None, properties=wanted,
        tls_context=ssl.create_default_context() if secure else None, timeout=ANSWER_S, keepalive=20,
    )  # fmt: skip
    session.pending_calls_threshold = 1000
    if wanted is not None:
        session.hold()
    with _answering(place):
        await session.__aenter__()
    try:
        yield session
    finally:
        with contextlib.suppress(aiomqtt.MqttError, OSError):
            await session.__aexit__(None, None, None)


def _fresh(packet: int) -> Properties:
    made: Properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho leaves its constructor untyped
    return made


def _properties(headers: Any, media: str) -> Properties:
    made = _fresh(PacketTypes.PUBLISH)
    if headers:
        made.UserProperty = [(str(name), str(value)) for name, value in headers]
    if media:
        made.ContentType = media
    return made


def _named(properties: Any) -> dict[str, Any]:
    return {
        name: getattr(properties, name)
        for name in ("UserProperty", "ContentType")
        if hasattr(properties, name)
    }
