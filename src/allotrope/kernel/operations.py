"""Operations: what a component can be asked or told. The words carry the meaning, an architecture none.

`query` reads and may be repeated; `command` writes, ordered per key; `on` handles events, ordered per key,
with one effect; `every` handles the ticks of a period. The decorated function stays what it was.
"""

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Literal, TypeVar, overload

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.kernel.exactness import leaves
from allotrope.kernel.messages import Event, Fault, Place, Tick, place_of

C = TypeVar("C")
A = TypeVar("A")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["query", "command", "on", "every"]
MARK = "__operation__"  # the attribute of a function that holds its Operation


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a decorator has learned of one operation; `component` is set when its class is complete."""

    name: str
    kind: Kind
    body: Callable[..., Any]
    place: Place
    component: str = ""
    key: str = ""
    faults: tuple[type[Fault], ...] = ()
    sources: tuple[type[Event], ...] = ()
    period: timedelta | None = None
    batch: int = 0
    repeatable: bool = True
    deadline_s: float | None = None

    @property
    def title(self) -> str:
        """Return `Component.operation`."""
        return f"{self.component}.{self.name}"

    @property
    def writes(self) -> bool:
        """Return whether it has an effect to commit: all but queries."""
        return self.kind != "query"

    @property
    def streams(self) -> bool:
        """Return whether it answers in pieces."""
        return inspect.isasyncgenfunction(self.body)

    @property
    def suspends(self) -> bool:
        """Return whether it runs on the event loop; a plain function goes to a thread."""
        return inspect.iscoroutinefunction(self.body)

    def parameters(self) -> dict[str, Any]:
        """Return the type of each parameter but `self`; `inspect.Parameter.empty` where none is declared."""
        hints = typing.get_type_hints(self.body, include_extras=True)
        names = list(inspect.signature(self.body).parameters)[1:]
        return {name: hints.get(name, inspect.Parameter.empty) for name in names}

    def result(self) -> Any:
        """Return the type of the answer; of one piece, when it streams; of one value, when it is batched."""
        kind = typing.get_type_hints(self.body, include_extras=True).get("return")
        if (self.streams or self.batch) and (parts := typing.get_args(kind)):
            return parts[0]
        return kind

    def publishes(self) -> tuple[type[Event], ...]:
        """Return the event types that its answer may hold."""
        kinds = [kind for kind in leaves(self.result()) if isinstance(kind, type)]
        return tuple(kind for kind in kinds if issubclass(kind, Event))


def _declare(kind: Kind, body: F, **facts: Any) -> F:
    operation = Operation(name=body.__name__, kind=kind, body=body, place=place_of(body), **facts)
    setattr(body, MARK, operation)
    return body


@overload
def query(body: F, /) -> F: ...
@overload
def query(
    *, batch: int, faults: tuple[type[Fault], ...] = (), repeatable: bool = True
) -> Callable[[Callable[[C, tuple[A, ...]], Awaitable[tuple[R, ...]]]], Callable[[C, A], Awaitable[R]]]: ...
@overload
def query(
    *, key: str = "", faults: tuple[type[Fault], ...] = (), repeatable: bool = True, deadline_s: float | None = None
) -> Callable[[F], F]: ...  # fmt: skip
def query(body: Any = None, /, **facts: Any) -> Any:
    """Declare a read: it may be retried, hedged, cached, shadowed; about one `key`, a canary answers all or none.

    With `batch=n` the body takes a tuple of at most n values and gives one result for each; it is called with
    one value. `repeatable=False`: two calls may answer differently, so the answer is recorded before use.
    """
    if body is None:
        return functools.partial(query, **facts)
    declared = _declare("query", body, **facts)
    return _single(declared) if facts.get("batch") else declared


def _single(body: Callable[[C, tuple[A, ...]], Any]) -> Callable[[C, A], Awaitable[R]]:
    @functools.wraps(body)
    async def one(self: C, value: A) -> R:
        answer = body(self, (value,))
        whole: tuple[R, ...] = await answer if inspect.isawaitable(answer) else answer
        return whole[0]

    return one


def command(
    *, key: str = "", faults: tuple[type[Fault], ...] = (), deadline_s: float | None = None
) -> Callable[[F], F]:
    """Declare a write, ordered per value of the parameter `key`; the events in its reply are published."""
    return lambda body: _declare("command", body, key=key, faults=faults, deadline_s=deadline_s)


def on(*sources: type[Event], faults: tuple[type[Fault], ...] = ()) -> Callable[[F], F]:
    """Declare a handler of events: ordered per key, its effect exactly once; what it returns is published."""
    return lambda body: _declare("on", body, sources=sources, faults=faults)


def every(period: timedelta) -> Callable[[F], F]:
    """Declare a handler of the ticks of a period: `async def sweep(self, tick: Tick)`."""
    if not isinstance(period, timedelta):
        raise Refused(f"every({period!r}): a period is a timedelta, as in every(timedelta(seconds=60))")
    return lambda body: _declare("every", body, sources=(Tick,), period=period)


def events_of(answer: Any) -> tuple[Event, ...]:
    """Return the events in what an operation returned: one, a tuple of them, or none."""
    parts = answer if isinstance(answer, tuple) else (answer,)
    return tuple(part for part in parts if isinstance(part, Event))
