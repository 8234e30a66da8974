"""How one delivery ended: what it published and wrote, its outcome and its decision record, before the commit."""

from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.calls import Call
from allotrope.kernel.errors import Failed, Refused
from allotrope.kernel.messages import Event, Fault, fault_body
from allotrope.kernel.operations import Operation, events_of
from allotrope.runtime.records import Outcome, Record, fingerprint, record_of
from allotrope.runtime.routes import Delivery
from allotrope.runtime.telemetry.secrets import mask
from allotrope.storage.ports import Envelope

Child = tuple[
    Envelope, Event | None
]  # an event that was published; without its value where that is not at hand


class Ended(msgspec.Struct):
    """How one delivery ended, before it is committed."""

    delivery: Delivery
    call: Call
    answer: Any
    error: Exception | None
    attempts: int
    mark: int = -1  # where the shared ledger stood when it began
    began: int = 0  # microseconds since 1970 of the first attempt, where it failed
    stored: tuple[tuple[str, str, bytes | None], ...] = ()  # its writes as bytes, where somebody needs them
    published: tuple[Event, ...] = ()  # beside its answer

    @property
    def events(self) -> tuple[Event, ...]:
        """Return what it published."""
        answer = self.answer
        if answer is None or self.error is not None:
            return ()
        if self.published:
            return self.published
        return (answer,) if isinstance(answer, Event) else events_of(answer)

    @property
    def writes(self) -> dict[tuple[str, str], Any]:
        """Return what it wrote: (table, key) -> value, None for a deletion."""
        return {} if self.error is not None or self.call.effect is None else self.call.effect.writes

    def child(self, index: int, event: Event, *, encoded: bool) -> Child:
        """Return one of its events in an envelope; its bytes too where somebody needs them."""
        trace = self.call.trace
        body = codec.encode(event) if encoded else b""
        header = "" if trace is None else trace.traceparent
        return self.enveloped(index, type(event).__name__, event.entity, body, header), event

    def enveloped(self, index: int, kind: str, entity: str, body: bytes, header: str) -> Envelope:
        """Return the envelope of the event that it published at `index`."""
        parent = self.delivery.envelope
        # Numbers sort as text: those from a thousand on begin with a letter, which comes after every digit.
        number = f"{index:03d}" if index < 1000 else f"a{index:09d}"
        path = f"{parent.path}/{self.delivery.route.title}#{number}"
        return Envelope(
            kind, entity, body, parent.at, self.call.origin, path, "", parent.tenant, header, parent.time
        )

    def outcome(self) -> Outcome:
        """Return how it ended, as it is kept for who asks again."""
        arguments = fingerprint(codec.encode(self.delivery.value))
        error = self.error
        if error is None:
            return Outcome(arguments, answer=codec.encode(self.answer))
        if isinstance(error, Fault):
            return Outcome(arguments, answer=codec.encode(error.body), fault=type(error).__name__)
        if isinstance(error, Failed):
            return Outcome(arguments, failure=(error.component, error.operation, error.cause))
        return Outcome(arguments, refusal=mask(str(error)))

    def record(self, release: int = 0) -> Record:
        """Return its decision record."""
        envelope, operation = self.delivery.envelope, self.delivery.route.operation
        body = envelope.body or codec.encode(self.delivery.value)
        facts = {
            "kind": envelope.kind,
            "writes": self.stored or stored(self.writes),
            "answer": b"" if self.error else codec.encode(self.answer),
            "error": "" if self.error is None else mask(f"{type(self.error).__name__}: {self.error}"),
            "attempts": self.attempts,
            "release": release,
        }
        return record_of(operation, self.call, body, self.events, facts)


def stored(writes: dict[tuple[str, str], Any]) -> tuple[tuple[str, str, bytes | None], ...]:
    """Return writes as a commit takes them, the rows as bytes."""
    return tuple(
        (table, key, None if row is None else codec.encode(row)) for (table, key), row in writes.items()
    )


def opened(operation: Operation, outcome: Outcome, result: Any) -> Any:
    """Return the answer of type `result` that an outcome holds, or raise what it holds."""
    if outcome.fault:
        raise declared(operation, outcome.fault, outcome.answer)
    if outcome.failure:
        raise Failed(*outcome.failure)
    if outcome.refusal:
        raise Refused(outcome.refusal)
    return codec.decode(outcome.answer, result)


def declared(operation: Operation, name: str, body: bytes) -> Exception:
    """Return the declared fault of an operation that `body` holds; Failed when it declares none of this name."""
    kind = next((kind for kind in operation.faults if kind.__name__ == name), None)
    if kind is None:
        return Failed(operation.component, operation.name, f"{name}, which it no longer declares")
    fields = codec.decode(body, fault_body(kind))
    return kind(**{name: getattr(fields, name) for name in fields.__struct_fields__})


def request_name(envelope: Envelope) -> str:
    """Return the name under which the outcome of a command is kept."""
    return f"{len(envelope.tenant)}/{envelope.tenant}/{envelope.kind}/{envelope.request}"
