"""Loopback: a call in one process that goes through the codec, and twice where it may be repeated.

It is as strict as any wire, and it flushes out queries that are not: an operation that answers a repeat
differently is reported by `differs`.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.calls import current
from allotrope.kernel.messages import Fault, fault_body
from allotrope.kernel.operations import Operation

Ask = Callable[..., Any]


def loopback(differs: Callable[[str, Any, Any], None]) -> Callable[[Operation, Ask], Ask]:
    """Return the transport; `differs` is told the operation and two answers that should have been equal."""

    def link(operation: Operation, ask: Ask) -> Ask:
        return _streamed(operation, ask) if operation.streams else _called(operation, ask, differs)

    return link


def _called(operation: Operation, ask: Ask, differs: Callable[[str, Any, Any], None]) -> Ask:
    result = operation.result()

    async def call(*given: Any, **named: Any) -> Any:
        answer = await _crossed(ask, *_across(given, named))
        if operation.repeatable and operation.kind == "query":
            with _unrecorded():
                again = await _crossed(ask, *_across(given, named))
            if codec.encode(again) != codec.encode(answer):
                differs(operation.title, answer, again)
        return codec.decode(codec.encode(answer), result)

    return call


@contextmanager
def _unrecorded() -> Iterator[None]:
    """Ask for oneself: a decision record holds what the body asked, however its questions travelled."""
    caller = current.get()
    token = current.set(caller and msgspec.structs.replace(caller, effect=None))
    try:
        yield
    finally:
        current.reset(token)


def _streamed(operation: Operation, ask: Ask) -> Ask:
    result = operation.result()

    async def stream(*given: Any, **named: Any) -> AsyncIterator[Any]:
        arguments, by_name = _across(given, named)
        try:
            async with aclosing(
                ask(*arguments, **by_name)
            ) as pieces:  # who stops listening ends the other side
                async for piece in pieces:
                    yield codec.decode(codec.encode(piece), result)
        except Fault as fault:
            raise _arrived(fault) from None

    return stream


def _across(given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments as the other side would see them before its door gives them their types."""
    sent = {name: type(value) for name, value in named.items()}
    return (
        tuple(codec.decode(codec.encode(value), type(value)) for value in given),
        {name: codec.decode(codec.encode(named[name]), kind) for name, kind in sent.items()},
    )


async def _crossed(ask: Ask, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
    try:
        return await ask(*given, **named)
    except Fault as fault:
        raise _arrived(fault) from None


def _arrived(fault: Fault) -> Fault:
    """Return the fault as it comes out at the caller's side."""
    body = codec.decode(codec.encode(fault.body), fault_body(type(fault)))
    return type(fault)(**msgspec.structs.asdict(body))
