"""Redrive: the command that each component with handlers has beside its own, and the events that it publishes.

With it dead letters, or events of the past, come in again: as an input of its own, with an origin, in the log like any
other. Not here: what the letters are and what becomes of them (`effects.letters`).
"""

import functools

from allotrope.kernel.components import Component
from allotrope.kernel.messages import Event, MessageType, place_of
from allotrope.kernel.operations import Operation

Past = tuple[tuple[str, bytes], ...]  # (title of a handler, the envelope of an event)
MARK = "__redrive__"  # no operation can be called so
DELIVER, DISCARD = "deliver", "discard"


class Again(Event, key="key"):
    """A dead letter, or an event of the past, is delivered to one handler again."""

    key: str
    name: str  # of the event
    number: int = -1  # of the letter, in the order of its key
    past: bytes = b""  # the envelope, where it is no letter


async def redrive(self: object, key: str, what: str = DELIVER, number: int = -1, past: Past = ()) -> int:
    """Deliver the letters of a key in order, or drop them all, or one; or what is past. Return how many."""
    raise NotImplementedError  # `taking` stands in for it: it needs the ledger


@functools.cache
def redrive_of(component: str) -> Operation:
    """Return the command of a component."""
    return Operation(
        name=MARK, kind="command", body=redrive, place=place_of(redrive), component=component, key="key"
    )


@functools.cache
def again_of(title: str) -> type[Again]:
    """Return the event type by which a handler gets something again: no view and no other handler takes it."""
    made: type[Again] = MessageType(f"{title}/again", (Again,), {"__module__": __name__})
    return made


def has_handlers(component: Component) -> bool:
    """Return whether a component has handlers of events."""
    return any(operation.kind == "on" for operation in component.operations)
