"""Decision records: all that one operation read, and all that it did. Enough to compute it again in one process."""

import hashlib
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.calls import Call
from allotrope.kernel.errors import Failed
from allotrope.kernel.messages import Event, Fault
from allotrope.kernel.operations import Operation
from allotrope.kernel.views import View
from allotrope.runtime.telemetry.secrets import mask


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One decision. Bytes are of the codec; their types are those that the app declares."""

    title: str
    origin: int
    path: str
    at: int
    seed: int
    tenant: str
    request: str
    trace: str
    kind: str  # the event type consumed, or the title of the command
    body: bytes
    tape: tuple[
        tuple[str, bytes, bytes], ...
    ]  # (what was asked, arguments, answer); "title!" holds what it raised
    events: tuple[tuple[str, bytes], ...]
    writes: tuple[tuple[str, str, bytes | None], ...]
    answer: bytes
    error: str = ""
    attempts: int = 1
    release: int = 0  # of the process that decided it, where a unit has one of its own

    @property
    def name(self) -> str:
        """Return the name of the event or input that was decided on."""
        return f"{self.origin}{self.path}"


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """How a command ended: its answer, the fault that it declared, or its failure; the same for each repeat."""

    arguments: str  # a hash of them, to refuse the same request id with others
    answer: bytes = b""
    fault: str = ""  # class name of a declared fault
    failure: tuple[str, str, str] | None = None
    refusal: str = ""


def fingerprint(body: bytes) -> str:
    """Return a short hash of encoded arguments."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def tape_bytes(tape: list[tuple[str, Any, Any]]) -> tuple[tuple[str, bytes, bytes], ...]:
    """Return a tape as bytes; a view's reading is its figures."""
    return tuple((what, codec.encode(given), codec.encode(figures(answer))) for what, given, answer in tape)


def raised(error: Exception) -> tuple[str, Any]:
    """Return what of an error is written down: its class name, and its fields or its text."""
    if isinstance(error, Fault):
        return type(error).__name__, error.body
    if isinstance(error, Failed):
        return "Failed", (error.component, error.operation, error.cause)
    return type(error).__name__, mask(str(error))


def figures(answer: Any) -> Any:
    """Return what of an answer is written down."""
    return answer.__dict__ if isinstance(answer, View) else answer


def reading_of(kind: type[View[Any]], data: bytes) -> Any:
    """Return the reading of a view whose figures `data` holds, each of the type that its aggregate declares."""
    kinds = {aggregate.name: aggregate.kind for aggregate in kind.__aggregates__}
    found = object.__new__(kind)
    for name, value in codec.decode(data).items():
        found.__dict__[name] = _figure(value, kinds.get(name))
    return found


def _figure(value: Any, kind: Any) -> Any:
    if not isinstance(value, str | list | dict) or kind in (None, Any, str):
        return value
    try:  # bytes do not tell these types themselves
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return value


def record_of(
    operation: Operation, call: Call, body: bytes, events: tuple[Event, ...], facts: dict[str, Any]
) -> Record:
    """Return the record of a call that has ended; `facts` are all that the call does not tell."""
    assert call.effect is not None
    return Record(
        title=operation.title, origin=call.origin, path=call.path, at=call.at, seed=call.seed, tenant=call.tenant,
        request=call.request, trace="" if call.trace is None else call.trace.traceparent, body=body,
        tape=tape_bytes(call.effect.tape), events=tuple((type(e).__name__, codec.encode(e)) for e in events), **facts,
    )  # fmt: skip
