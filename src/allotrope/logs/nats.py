"""The log in a stream of NATS JetStream: each record is a message, its sequence number is its position.

Every message names the sequence that must stand before it, so a repeated or a foreign one is refused by the server;
of many in flight only the last is answered for. JetStream answers before it syncs: a power cut of its machine may
take what was acknowledged. Not here: clusters are the server's own affair, given as several addresses.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Sequence
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from allotrope.kernel.errors import Refused
from allotrope.logs.server import Away

ANSWER_S = 5.0  # how long the server may take for one answer
_HELD_S = 0.2  # how long another host may take to say that it is there
_HEADERS = 200  # bytes of a message beside its record
_WRONG_SEQUENCE = 10071
_BEFORE = "Nats-Expected-Last-Sequence"
_LOST = (nats.errors.Error, OSError, asyncio.TimeoutError)
_KEEPS: dict[str, Any] = {
    "retention": api.RetentionPolicy.LIMITS, "storage": api.StorageType.FILE, "max_msgs": -1, "max_bytes": -1,
    "max_age": 0.0, "max_msgs_per_subject": -1, "max_msg_size": -1,
}  # fmt: skip


class NatsServer:
    """One stream of JetStream, and the right to be the one who writes it."""

    def __init__(self, url: str, place: str, name: str) -> None:
        """Take the address; nothing is reached before `open`."""
        self.place, self.largest = place, 0
        self._url, self._stream, self._subject = url, f"allotrope_{name}", f"allotrope.{name}"
        self._me = f"{socket.gethostname()} process {os.getpid()} {secrets.token_hex(8)}"
        self._client: Client | None = None
        self._reader: tuple[JetStreamContext.PullSubscription, int] | None = None  # and where it goes on
        self._one_by_one = False
        self._held = False
        self._gone: asyncio.Future[None] | None = None  # done once the connection has ended

    async def open(self) -> int:
        """Connect, make the stream or check it, let no other writer in, and return the last position."""
        try:
            if self._client is None or not self._client.is_connected:
                await self.close()
                gone = self._gone = asyncio.get_running_loop().create_future()

                async def closed() -> None:
                    if not gone.done():
                        gone.set_result(None)

                self._client = client = await asyncio.wait_for(
                    nats.connect(
                        self._url.split(","), allow_reconnect=False, connect_timeout=2, error_cb=_quiet,
                        disconnected_cb=closed, closed_cb=closed, name="allotrope",
                    ),
                    2,
                )  # fmt: skip
                await self._hold(client)
                self.largest = client.max_payload - _HEADERS
            return await self._checked()
        except (nats.errors.AuthorizationError, nats.errors.NoRespondersError) as error:
            raise Refused(
                f"{self.place}: {str(error) or 'JetStream is not enabled there; start it with -js'}"
            ) from None
        except _LOST as error:
            await self.close()  # the line may be dead, and nobody has noticed
            raise _away(error) from error

    async def _hold(self, client: Client) -> None:
        """Answer whoever asks who writes this stream, and ask so oneself. Of two that come at once, one stays."""
        subject = f"{self._subject}.holder"
        answers: list[str] = []

        async def tell(asked: Msg) -> None:
            if asked.data.decode() != self._me:
                await asked.respond(f"{'held' if self._held else 'coming'} {self._me}".encode())

        async def told(answer: Msg) -> None:
            answers.append(answer.data.decode())

        inbox = client.new_inbox()
        self._held = False
        await client.subscribe(subject, cb=tell)
        heard = await client.subscribe(inbox, cb=told)
        await client.publish(subject, self._me.encode(), reply=inbox)
        await client.flush()
        await asyncio.sleep(_HELD_S)
        await heard.unsubscribe()
        for answer in answers:
            how, _, who = answer.partition(" ")
            if how == "held" or who < self._me:
                await self.close()
                raise Refused(
                    f"{self.place}: in use by {who.rpartition(' ')[0]}; stop that process, or give this one "
                    "another `name` in [log]"
                )
        self._held = True

    async def _checked(self) -> int:
        """Return the last sequence of the stream. Refused when it would not keep everything."""
        js = self._context()
        try:
            found = await js.stream_info(self._stream)
        except NotFoundError:
            wanted = api.StreamConfig(name=self._stream, subjects=[self._subject], **_KEEPS)
            found = await js.add_stream(wanted)
        wrong = [
            f"{key} {getattr(found.config, key)!s} instead of {getattr(value, 'value', value)!s}"
            for key, value in _KEEPS.items()
            if (getattr(found.config, key) or 0) != value
            and not (value == -1 and not getattr(found.config, key))
        ]
        if found.config.subjects != [self._subject]:
            wrong.append(f"subjects {found.config.subjects} instead of {[self._subject]}")
        if found.state.messages and found.state.first_seq != 1:
            wrong.append(f"no entries before {found.state.first_seq}")
        if wrong:
            raise Refused(
                f"{self.place}: stream {self._stream} has {', '.join(wrong)}: it would not keep every entry; "
                "delete it, or give this log another `name` in [log]"
            )
        return found.state.last_seq

    def _context(self) -> JetStreamContext:
        if self._client is None or not self._client.is_connected:
            raise Away("no connection")
        return self._client.jetstream(timeout=ANSWER_S)

    async def store(self, first: int, records: Sequence[bytes]) -> None:
        """Publish records, many in flight; the answer to the last one speaks for all before it."""
        js, client = self._context(), self._client
        assert client is not None
        try:
            if self._one_by_one:  # something among them was refused: find out why
                await self._told(js, first, records[0])
                first, records, self._one_by_one = first + 1, records[1:], False
            for place, record in enumerate(records[:-1], first):
                await client.publish(self._subject, record, headers={_BEFORE: str(place - 1)})
            if records:
                await self._told(js, first + len(records) - 1, records[-1])
        except APIError as error:
            self._one_by_one = True
            if error.err_code == _WRONG_SEQUENCE:
                raise Away("the stream does not end where it should") from error
            raise Refused(
                f"{self.place}: not stored: {error.description}; make room there, repeat", 5.0
            ) from None
        except _LOST as error:
            raise _away(error) from error

    async def _told(self, js: JetStreamContext, position: int, record: bytes) -> None:
        """Publish one record and wait for the answer, or for the end of the connection."""
        assert self._gone is not None
        told: asyncio.Future[Any] = asyncio.ensure_future(
            js.publish(self._subject, record, headers={_BEFORE: str(position - 1)})
        )
        try:
            await asyncio.wait({told, self._gone}, return_when=asyncio.FIRST_COMPLETED)
            if not told.done():
                raise Away("the connection ended before the answer came")
            told.result()
        finally:
            told.cancel()

    async def fetch(self, position: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return messages from a sequence on, through a consumer that goes on where the last reading ended."""
        js = self._context()
        try:
            if limit == 1:
                one = await js.get_msg(self._stream, position)
                return [(position, one.data or b"")]
            if self._reader is None or self._reader[1] != position:
                await self._leave()
                config = api.ConsumerConfig(
                    deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=position,
                    ack_policy=api.AckPolicy.NONE, inactive_threshold=60.0,
                )  # fmt: skip
                consumer = await js.pull_subscribe(self._subject, stream=self._stream, config=config)
                found = (await consumer.consumer_info()).config
                if found.opt_start_seq != position or found.ack_policy != api.AckPolicy.NONE:
                    raise Refused(
                        f"{self.place}: this version of NATS reads from elsewhere than it is told; update it"
                    )
                self._reader = consumer, position
            reader, _ = self._reader
            entries: list[tuple[int, bytes]] = []
            while len(entries) < limit:
                for message in await reader.fetch(limit - len(entries), timeout=ANSWER_S):
                    entries.append((message.metadata.sequence.stream, message.data))
            self._reader = reader, position + limit
            return entries
        except _LOST as error:
            self._reader = None
            raise _away(error) from error

    async def _leave(self) -> None:
        """End the consumer of the last reading; the server forgets it anyway after a while."""
        if self._reader is not None:
            reader, self._reader = self._reader[0], None
            with contextlib.suppress(*_LOST):
                await reader.unsubscribe()

    async def last(self) -> int:
        """Return the last sequence of the stream."""
        try:
            return (await self._context().stream_info(self._stream)).state.last_seq
        except _LOST as error:
            raise _away(error) from error

    async def remove(self) -> None:
        """Delete the stream."""
        try:
            await self._context().delete_stream(self._stream)
        except _LOST as error:
            raise _away(error) from error

    async def close(self) -> None:
        """Disconnect: nobody answers for this stream then, so another writer may come."""
        client, self._client, self._reader = self._client, None, None
        if client is not None:
            with contextlib.suppress(*_LOST):
                await asyncio.wait_for(client.close(), 1)


async def _quiet(_error: Exception) -> None:
    """Say nothing: whoever asked is told."""


def _away(error: BaseException) -> Away:
    return Away(str(error) or type(error).__name__)
