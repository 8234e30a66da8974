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
NO_KEY = 1 << 10  # of arguments: none has this number
MOST_ARRAYS = 64  # in one letter; the others travel inside
LONGEST = (64 << 20) - (64 << 10)  # bytes of a letter with its arrays; a frame holds so many
_PLAIN: tuple[type[Exception], ...] = (Refused, Overloaded, Expired, Lost, Fenced, Corrupted)
_ERRORS = {kind.__name__: kind for kind in _PLAIN}


class Letter(msgspec.Struct, frozen=True, gc=False):
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
    arguments: msgspec.Raw  # read once the title has told their types
    key: str = ""  # what it is about, where its operation declares that

    def parent(self, deadline: float, trace: Any) -> Call:
        """Return the call that asks, as the other side sees it: it has no effect there."""
        return Call(
            self.caller, self.operation, self.origin, self.path, self.at, deadline, self.tenant, self.request, None,
            trace, self.seed,
        )  # fmt: skip


def question(operation: Operation, call: Call, arguments: tuple[Any, ...], at: int = NO_KEY) -> Letter:
    """Return the letter of a query that is made as `call`; its key is argument number `at`."""
    header = "" if call.trace is None else call.trace.traceparent
    letter = packed((  # as a `Question` is, with the arguments in the same pass
        operation.title, call.component, call.operation, call.origin, call.path, call.at, call.tenant, call.request,
        header, call.seed, arguments, str(arguments[at]) if at < len(arguments) else "",
    ))  # fmt: skip
    if why := too_long(letter):
        raise Refused(f"{operation.title}: its arguments have {why}")
    return letter


def too_long(letter: Letter) -> str:
    """Return how much too long a letter is, and what to do; "" when it can be sent."""
    if not letter.arrays and len(letter.body) <= LARGE:
        return ""
    size = len(letter.body) + sum(array.nbytes for array in letter.arrays)
    if size <= LONGEST:
        return ""
    advice = "keep them in a file, and send where it is, or send less at once"
    return f"{size:,} bytes, and {LONGEST:,} are the most between two units; {advice}"


class Sought(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One reading of a view. No time stands for the newest event."""

    view: str
    key: str
    at: int | None = None
    origin: int = LAST_ORIGIN
    trace: str = ""


def subject(method: str, letter: Letter) -> tuple[str, str]:
    """Return the key that a letter is about, and the request that it is a part of; "" where there is none."""
    if method == "read":
        return codec.decode(letter.body, Sought).key, ""
    if method not in ("ask", "stream"):
        return "", ""
    asked: Question = codec.decode(letter.body, Question)
    return asked.key, asked.request or ("" if asked.origin == LAST_ORIGIN else str(asked.origin))


class Sent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A delivery to one operation."""

    title: str
    envelope: Envelope
    trace: str  # of the flow
    floor: int  # the lowest unfinished origin
    ticket: int = 0  # where it has the process to itself
    given_up: str = ""  # why it is not to run any more


class Trial(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The wish to have a process to itself, for the delivery that is to come."""

    origin: int
    path: str
    hold_s: float


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
    states: tuple[tuple[str, str, bytes], ...] = ()  # (view, key, state) as of the checkpoint
    since: dict[str, int] = {}  # view -> origin below which everything is in the checkpoint; with `first`


class Wanted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The wish for the states of views as of an origin, where a checkpoint has them of `since`."""

    origin: int
    since: int
    known: dict[str, str]  # view -> its definition in that checkpoint
    first: bool


class States(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """States of views, and whether there are more."""

    rows: tuple[tuple[str, str, bytes], ...]
    more: bool


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


def packed(value: Any, mark: bytes = b"") -> Letter:
    """Return the letter that holds a value, after `mark`: its large arrays beside it, as they are."""
    _arrays.clear()
    body = mark + _encoder.encode(value)
    return Letter(body, tuple(_arrays)) if _arrays else Letter(body)


def unpacked(letter: Letter, read: Callable[..., Any], *given: Any) -> Any:
    """Return what `read` makes of a part of a letter's bytes, which finds the arrays beside them."""
    if not letter.arrays:
        return read(*given)
    codec.apart[:] = letter.arrays
    try:
        return read(*given)
    finally:
        codec.apart.clear()


def answered(answer: Any) -> Letter:
    """Return the reply that holds an answer."""
    return packed(answer, ANSWERED)


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
    body = reply.body[1:]
    if reply.body.startswith(ANSWERED):
        return unpacked(reply, codec.decode, body, kind)
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
