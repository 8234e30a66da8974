"""Entries: what a replica tells of one call, as bytes that cost it little, and read again by its sidecar.

The letter goes as it came, since to take it apart is work for the sidecar; only a large one is cut by the replica.
Not here: how bytes get across (`ring`), and what becomes of them (`files`, `figures`).
"""

from collections.abc import Mapping
from struct import Struct
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.calls import LAST_ORIGIN
from allotrope.runtime.records import Outcome
from allotrope.runtime.sites.wire import ANSWERED, RAISED, Question, Sent, Taken

ASK, DELIVER = 0, 1

_NONE = msgspec.Raw(msgspec.msgpack.encode(None))
MOST = 1 << 10  # bytes of a letter or a reply that go as they are, unless arguments are wanted
CUT = "cut"  # the status of a call that was given up before it had ended
_HEAD = Struct(
    "<IIIIQBI"
)  # length, letter in here, letter in all, reply in all, when it began, way, how long


class Call(msgspec.Struct, frozen=True):
    """One call as its replica saw it. Times are microseconds, sizes are bytes."""

    way: int
    at: int
    took: int
    letter: bytes
    reply: bytes
    asked: int
    answered: int


def entry(call: Call, most: int = MOST) -> bytes:
    """Return a call as one entry of the ring; of letters over `most` bytes without arguments."""
    letter, reply, way = call.letter, call.reply, call.way
    if len(letter) > most:
        letter = without_arguments(way, letter)
    if len(reply) > MOST:
        reply = (
            ANSWERED if (status := status_of(way, reply)) == "ok" else RAISED + codec.encode((status, None))
        )
    size = _HEAD.size + len(letter) + len(reply)
    head = _HEAD.pack(size, len(letter), call.asked, call.answered, call.at, way, min(call.took, 0xFFFFFFFF))
    return b"".join((head, letter, reply))


def read(data: bytes) -> Call:
    """Return the call that an entry tells of."""
    _, held, asked, answered, at, way, took = _HEAD.unpack_from(data)
    letter = data[_HEAD.size : _HEAD.size + held]
    return Call(way, at, took, letter, data[_HEAD.size + held :], asked, answered)


class Seen(msgspec.Struct, frozen=True):
    """What a letter says: who is asked, on behalf of whom, and with what, as plain values by name."""

    title: str
    origin: int
    path: str
    tenant: str
    request: str
    trace: str
    arguments: Any


def seen(call: Call, names: Mapping[str, tuple[str, ...]] | None) -> Seen:
    """Return what the letter of a call says; its arguments too where `names` has those of the parameters."""
    if call.way == ASK:
        asked = codec.decode(call.letter, Question)
        given = None if names is None else _plain(asked.arguments, names.get(asked.title, ()))
        origin = 0 if asked.origin == LAST_ORIGIN else asked.origin
        return Seen(asked.title, origin, asked.path, asked.tenant, asked.request, _id(asked.trace), given)
    sent = codec.decode(call.letter, Sent)
    envelope = sent.envelope
    given = None if names is None else _plain(envelope.body, names.get(sent.title, ()))
    trace = _id(sent.trace or envelope.trace)
    return Seen(sent.title, envelope.origin, envelope.path, envelope.tenant, envelope.request, trace, given)


def without_arguments(way: int, letter: bytes) -> bytes:
    """Return a letter that says the same but for its arguments."""
    if way == ASK:
        return codec.encode(msgspec.structs.replace(codec.decode(letter, Question), arguments=_NONE))
    sent = codec.decode(letter, Sent)
    envelope = msgspec.structs.replace(sent.envelope, body=b"")
    return codec.encode(msgspec.structs.replace(sent, envelope=envelope))


def status_of(way: int, reply: bytes) -> str:
    """Return how a call ended: `ok`, the name of an error, or that it was cut."""
    if not reply:
        return CUT
    if reply[:1] == RAISED:
        name, _ = codec.decode(memoryview(reply)[1:], tuple[str, msgspec.Raw])
        return str(name)
    if way == ASK or len(reply) == 1:
        return "ok"
    taken = codec.decode(memoryview(reply)[1:], Taken)
    if taken.parked:
        return "Parked"
    if not taken.outcome:
        return "ok"
    outcome = codec.decode(taken.outcome, Outcome)
    return outcome.fault or ("Failed" if outcome.failure else "Refused" if outcome.refusal else "ok")


def _id(header: str) -> str:
    """Return the trace id of a W3C header."""
    return header[3:35]


_decoder = msgspec.msgpack.Decoder(ext_hook=lambda code, data: f"{len(data)} bytes of an array")


def _plain(body: bytes | msgspec.Raw, names: tuple[str, ...]) -> Any:
    """Return arguments as plain values by name: of an event its fields, of an operation its parameters."""
    value = _decoder.decode(body) if body else None
    if value is None:
        return None
    if isinstance(value, list):
        return dict(zip(names, value, strict=False))
    return {name: part for name, part in value.items() if name != codec.VERSION}
