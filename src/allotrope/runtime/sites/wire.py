"""The wire: how the processes of an app reach each other, and the letters that go over it.

A letter and its reply are bytes; what of them is an answer and what an error is said by their first byte. Not here:
sockets (`transports`), and who runs where (`engines`).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.calls import LAST_ORIGIN, Call
from allotrope.kernel.errors import Corrupted, Expired, Failed, Lost, Overloaded, Refused
from allotrope.kernel.messages import Fault
from allotrope.kernel.operations import Operation
from allotrope.runtime.effects.ended import declared
from allotrope.runtime.records import raised
from allotrope.storage.ports import Envelope, Fenced

T = TypeVar("T")
ANSWERED, RAISED = b"\x00", b"\x01"
LARGE = 64 << 10  # bytes of an array from which on it travels beside the letter, without a copy
PORTION = 4 << 20  # bytes of events in one letter, or one event: a larger letter holds up everybody
MOST_ARRAYS = 200  # in one letter; the others travel inside
_PLAIN: tuple[type[Exception], ...] = (Refused, Overloaded, Expired, Lost, Fenced, Corrupted)
_ERRORS = {kind.__name__: kind for kind in _PLAIN}


class Letter(NamedTuple):
    """Bytes, and the large arrays that lie beside them."""

    body: bytes
    arrays: Sequence[Any] = ()


Method = Callable[[Letter, float | None], Awaitable[Letter]]  # a letter and the seconds left, to a reply
Stream = Callable[[Letter, float | None], AsyncGenerator[Letter, None]]


class Address(NamedTuple):
    """Whom a letter is for: a unit, there the holder of a partition, or one replica."""

    unit: str
    partition: int = -1
    replica: str = ""

    def __str__(self) -> str:
        """Return it in words."""
        part = f", partition {self.partition}" if self.partition >= 0 else ""
        return f"unit `{self.unit}`{part}{self.replica and f', {self.replica}'}"


class Wire(Protocol):
    """Reaches units by name, and one of their replicas by the partition that it holds, or by its own name."""

    async def call(self, to: Address, method: str, letter: Letter, timeout_s: float | None = None) -> Letter:
        """Return the reply. Overloaded when no replica can take it now, Lost when nobody knows whether it ran."""

    def stream(
        self, to: Address, method: str, letter: Letter, timeout_s: float | None = None
    ) -> AsyncIterator[Letter]:
        """Yield the replies to a letter."""

    def replicas(self, unit: str) -> tuple[str, ...]:
        """Return the names of the replicas that can be reached, each a new one after a restart."""

    async def changed(self, timeout_s: float | None = None) -> None:
        """Return once other replicas can be reached than before, or when the time is over."""

    async def expel(self, replica: str) -> None:
        """Return once a replica that has missed something has ended, whatever state it is in."""

    def close(self) -> None:
        """Let go of all links."""


class Served(msgspec.Struct, frozen=True):
    """What a process answers to: letters by method, and streams by method."""

    methods: Mapping[str, Method]
    streams: Mapping[str, Stream]


class Question(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A query, and the call that it is a part of."""

    title: str
    caller: str
    operation: str
    origin: int
    path: str
    at: int
    tenant: str
    request: str
    trace: str
    seed: int
    arguments: bytes

    def parent(self, deadline: float, trace: Any) -> Call:
        """Return the call that asks, as the other side sees it: it has no effect there."""
        return Call(
            self.caller, self.operation, self.origin, self.path, self.at, deadline, self.tenant, self.request, None,
            trace, self.seed,
        )  # fmt: skip


def question(operation: Operation, call: Call, arguments: tuple[Any, ...]) -> Letter:
    """Return the letter of a query that is made as `call`."""
    header, given = "" if call.trace is None else call.trace.traceparent, packed(arguments)
    asked = Question(
        operation.title, call.component, call.operation, call.origin, call.path, call.at, call.tenant, call.request,
        header, call.seed, given.body,
    )  # fmt: skip
    return Letter(codec.encode(asked), given.arrays)


class Sought(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One reading of a view. No time stands for the newest event."""

    view: str
    key: str
    at: int | None = None
    origin: int = LAST_ORIGIN
    trace: str = ""


class Sent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A delivery to one operation."""

    title: str
    envelope: Envelope
    trace: str  # of the flow
    floor: int  # the lowest unfinished origin


class Taken(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What came of a delivery."""

    children: tuple[Envelope, ...]
    outcome: bytes = b""
    parked: int = 0  # events that this process has parked since its last reply
    repeats: int = 0  # and deliveries that a check has made it run twice


class Fed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Events for the views of a unit, in the order in which they were made known."""

    envelopes: tuple[Envelope, ...]
    floor: int
    first: bool = False  # forget everything before
    last: bool = True  # nothing older is to come: readings may be given


_arrays: list[Any] = []  # that the encoder at work has put beside its bytes


def _pack(value: Any) -> Any:
    large = codec.is_array(type(value)) and value.nbytes >= LARGE and len(_arrays) < MOST_ARRAYS
    if not large or value.dtype.kind in "OV" or not value.flags.c_contiguous:
        return codec.pack(value)
    header = msgspec.msgpack.encode((value.dtype.str, value.shape))
    _arrays.append(memoryview(value).cast("B"))
    place = bytes((len(_arrays) - 1,))
    return msgspec.msgpack.Ext(codec.APART, len(header).to_bytes(4, "little") + header + place)


_encoder = msgspec.msgpack.Encoder(enc_hook=_pack)


def packed(value: Any) -> Letter:
    """Return the letter that holds a value: its large arrays beside it, as they are."""
    _arrays.clear()
    body = _encoder.encode(value)
    return Letter(body, tuple(_arrays)) if _arrays else Letter(body)


def unpacked(letter: Letter, read: Callable[[], Any]) -> Any:
    """Return what `read` makes of a letter's bytes, which finds the arrays beside them."""
    if not letter.arrays:
        return read()
    codec.apart[:] = letter.arrays
    try:
        return read()
    finally:
        codec.apart.clear()


def answered(answer: Any) -> Letter:
    """Return the reply that holds an answer."""
    body, arrays = packed(answer)
    return Letter(ANSWERED + body, arrays)


def thrown(error: Exception) -> Letter:
    """Return the reply that holds an error; one that nobody declared is Failed."""
    if isinstance(error, Fault | Failed):
        return Letter(RAISED + codec.encode(raised(error)))
    name = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS), "")
    if not name:  # nobody has declared it
        return thrown(Failed("unit", "letter", f"{type(error).__name__}: {error}"))
    return Letter(RAISED + codec.encode((name, (str(error), getattr(error, "retry_after_s", None)))))


def opened(reply: Letter, kind: Any, operation: Operation | None = None) -> Any:
    """Return the answer of type `kind` in a reply, or raise the error that it holds."""
    body = memoryview(reply.body)[1:]
    if reply.body[:1] == ANSWERED:
        return (
            codec.decode(body, kind)
            if not reply.arrays
            else unpacked(reply, lambda: codec.decode(body, kind))
        )
    name, fields = codec.decode(body, tuple[str, msgspec.Raw])
    if name == "Failed":
        raise Failed(*codec.decode(bytes(fields), tuple[str, str, str]))
    if name in _ERRORS:
        text, retry_after_s = codec.decode(bytes(fields), tuple[str, float | None])
        raise _ERRORS[name](text) if retry_after_s is None else _ERRORS[name](text, retry_after_s)
    if operation is None:
        raise Refused(f"the other side answered with {name}, which nobody declared here")
    raise declared(operation, name, bytes(fields))


def portion(items: Sequence[T], envelope: Callable[[T], Envelope]) -> tuple[T, ...]:
    """Return as many of the first items as one letter should carry, at least one."""
    size = count = 0
    for item in items:
        size += len(envelope(item).body) + 200
        if count and size > PORTION:
            break
        count += 1
    return tuple(items[:count])
