"""Dispatch: the one path of every query. Deadline, limits, types, trace and counters, then the body.

`Door` is one operation of one component, ready to be called; a proxy is an object whose methods are doors. Commands
and handlers go through flows (`host`), which use `Door.run` for the same bodies.
"""

import asyncio
import contextvars
import functools
import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from types import MethodType, NoneType
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.calls import LAST_ORIGIN, NEVER, Call, current
from allotrope.kernel.errors import Expired, Failed, Lost, Refused
from allotrope.kernel.exactness import check
from allotrope.kernel.messages import Fault, Message, conform
from allotrope.kernel.operations import Operation
from allotrope.runtime.doors.batches import Batcher
from allotrope.runtime.doors.deadlines import Deadlines
from allotrope.runtime.doors.limits import Slots
from allotrope.runtime.records import raised
from allotrope.runtime.telemetry.meters import Meter
from allotrope.runtime.telemetry.secrets import mask
from allotrope.runtime.tracing import Tracer

RAISED = (Exception, SystemExit, asyncio.CancelledError)  # by a body, unless its own task is cancelled
PASSED_ON = (Refused, Failed, Lost)  # already say where they come from


class Services:
    """What every door of a host shares."""

    def __init__(self, tracer: Tracer, threads: int = 8) -> None:
        """Share one tracer, one timer and one bounded pool for plain functions."""
        self.tracer = tracer
        self.deadlines = Deadlines()
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="operation")
        self.meters: dict[str, Meter] = {}
        self.now: Callable[[], int] = lambda: 0  # microseconds since 1970; the host sets it
        self.seed = 0
        self.once: Callable[[Door, Call, tuple[Any, ...]], Awaitable[Any]]  # the host's effects set it


class Door:
    """One operation of one instance."""

    def __init__(
        self, operation: Operation, instance: object, slots: Slots, services: Services,
        body: Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        """Bind the body to the instance, unless one is given, and compile the checks of its types."""
        self.operation, self.slots, self.services = operation, slots, services
        self.meter = services.meters.setdefault(operation.title, Meter(operation.title))
        self.component, self.name, self.title = operation.component, operation.name, operation.title
        self.deadline_s = operation.deadline_s
        self.short = (
            operation.repeatable and self.deadline_s is None
        )  # whether a call may take the shortest way
        self.kinds = list(operation.parameters().items())
        self.arity = len(self.kinds)
        self.result = operation.result()
        self.whole = NoneType if self.result is None else _message(self.result)
        self.exact_arguments = check(
            tuple((f"v[{i}]", kind) for i, (_, kind) in enumerate(self._single_kinds()))
        )
        self.exact_result = check((("v", self.result),))
        self.only = _message(self.kinds[0][1]) if self.arity == 1 else Door
        self.body: Callable[..., Any]
        self.far = self.meter.far = body is not None
        if body is not None:  # of another process, which has threads and batches of its own
            self.body = body
            return
        self.body = MethodType(operation.body, self if instance is None else instance)
        if not operation.suspends and not operation.streams:
            self.body = functools.partial(self._in_thread, self.body)
        if operation.batch:
            call = Call(operation.component, operation.name)
            self.body = Batcher(call, self.body, operation.batch, services.tracer).call

    def hurry(self, deadline_s: float | None) -> None:
        """Take the component's deadline, unless the operation has one of its own."""
        if self.deadline_s is None and deadline_s is not None:
            self.deadline_s, self.short = deadline_s, False

    def _single_kinds(self) -> list[tuple[str, Any]]:
        if self.operation.batch:  # declared on a tuple, called with one value
            self.kinds = [(name, kind.__args__[0]) for name, kind in self.kinds]
        return self.kinds

    async def _in_thread(self, body: Callable[..., Any], *arguments: Any) -> Any:
        context = contextvars.copy_context()
        work = functools.partial(context.run, _outright, body, *arguments)
        future = asyncio.get_running_loop().run_in_executor(self.services.pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # The thread cannot be stopped. It keeps its place until it ends, so that the limit stays true.
            self.slots.free -= 1
            future.add_done_callback(self._left)
            raise

    def _left(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled():
            future.exception()  # nobody waits for it any more: say that it was seen
        self.slots.give()

    def arguments(self, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """Return the arguments in order, each exactly of its type. Refused names the one that does not fit."""
        if named or len(given) != self.arity:
            try:
                bound = inspect.signature(self.operation.body).bind(None, *given, **named)
            except TypeError as error:
                raise Refused(f"{self.operation.title}: {error}") from None
            bound.apply_defaults()
            given = bound.args[1:]
        if self.exact_arguments(given):
            return given
        return tuple(
            conform(value, kind, f"{self.operation.title}({name})")
            for value, (name, kind) in zip(given, self.kinds, strict=True)
        )

    def decoded(self, body: bytes | msgspec.Raw) -> tuple[Any, ...]:
        """Return the arguments that `body` holds, as an envelope carries them: an array, by their places.

        One that an older version did not know has its default; one that a newer version has added is passed over.
        """
        return msgspec.structs.astuple(self._read(body))

    @functools.cached_property
    def _read(self) -> Callable[[bytes | msgspec.Raw], Any]:
        found = inspect.signature(self.operation.body).parameters
        fields = [
            (name, kind)
            if (default := found[name].default) is inspect.Parameter.empty
            else (name, kind, default)
            for name, kind in self.kinds
        ]
        carrier = msgspec.defstruct(self.name, fields, array_like=True, kw_only=True, gc=False)
        return codec.decoder(carrier).decode

    def failure(self, error: Exception | SystemExit | asyncio.CancelledError) -> Exception:
        """Return the error as the caller sees it, the same over any link: declared faults and our own pass through."""
        self.meter.fail(error)
        if isinstance(error, PASSED_ON) or (
            isinstance(error, Fault) and type(error) in self.operation.faults
        ):
            return error
        said = str(error) or "what it awaited was cancelled" * isinstance(error, asyncio.CancelledError)
        failed = Failed(self.component, self.name, mask(f"{type(error).__name__}: {said}"))
        failed.__cause__ = error
        return failed

    async def run(self, call: Call, arguments: tuple[Any, ...], tape: list[Any] | None = None) -> Any:
        """Run the body as `call`, within the component's limit; the answer is exactly of its type, and on the tape."""
        meter, slots = self.meter, self.slots
        start = perf_counter()
        if slots.free > 0 and start < call.deadline:
            slots.free -= 1
        else:
            start = await self._admitted(call, arguments, tape)
        meter.started += 1
        token = current.set(call)
        try:
            answer = await self.body(*arguments)
            if type(answer) is not self.whole and not self.exact_result(answer):
                answer = self._conformed(answer)
            if tape is not None:
                tape.append((self.title, arguments, answer))
            return answer
        except RAISED as error:  # a component does not end the process of others
            if isinstance(error, asyncio.CancelledError) and stopped():
                raise
            failure = self.failure(error)
            if tape is not None and not isinstance(failure, Lost):  # of which nothing was learned
                tape.append((f"{self.title}!", arguments, raised(failure)))
            raise failure from failure.__cause__
        finally:
            current.reset(token)
            # As `meter.count` and `slots.give` would, without the price of two calls.
            spent = perf_counter() - start
            meter.seconds += spent
            meter.buckets[int(spent * 1e6).bit_length()] += 1
            if slots.waiting:
                slots.give()
            else:
                slots.free += 1

    def _conformed(self, answer: Any) -> Any:
        try:
            return conform(answer, self.result, f"the answer of {self.title}")
        except Refused as refusal:  # Refused would say that nothing ran
            raise Failed(self.component, self.name, mask(str(refusal))) from None

    async def _admitted(self, call: Call, arguments: tuple[Any, ...], tape: list[Any] | None) -> float:
        """Return when it starts, once a place is taken; the way of a call that must wait or comes too late."""
        waiting = self.meter.waiting
        waiting.append(came := time.time())
        try:
            if call.deadline <= perf_counter():
                raise self.failure(Expired(f"{self.title}: the deadline passed before it could start"))
            await self.slots.take()
        except Exception as error:
            if tape is not None:
                tape.append((f"{self.title}!", arguments, raised(error)))
            raise
        finally:
            waiting.remove(came)
        return perf_counter()

    def derived(self, parent: Call | None) -> Call:
        """Return the call of a query made by `parent`: same origin and deadline, no effect of its own."""
        operation, services = self.operation, self.services
        if parent is None:
            trace = services.tracer.root(self.title)
            call = Call(operation.component, operation.name, LAST_ORIGIN, "", services.now(), trace=trace)
        else:
            trace = None if parent.trace is None else services.tracer.child(parent.trace, operation.title)
            call = Call(
                operation.component, operation.name, parent.origin, parent.path, parent.at, parent.deadline,
                parent.tenant, parent.request, None, trace, parent.seed,
            )  # fmt: skip
        if self.deadline_s is not None:
            call.deadline = min(call.deadline, perf_counter() + self.deadline_s)
        return call

    def ask(self, *given: Any, **named: Any) -> Coroutine[Any, Any, Any]:
        """Answer a query; the shape of a proxy's method. Nothing is raised before the answer is awaited."""
        parent = current.get()
        if (
            parent is None or parent.trace is not None or not self.short or named or len(given) != self.arity
            or (type(given[0] if given else None) is not self.only and not self.exact_arguments(given))
        ):  # fmt: skip
            plain = not named and len(given) == self.arity and (parent is None or parent.effect is None)
            if plain and self.exact_arguments(given):
                return self.watched(parent, given)
            return self._asked(parent, given, named)
        call = Call(
            self.component, self.name, parent.origin, parent.path, parent.at, parent.deadline,
            parent.tenant, parent.request, None, None, parent.seed,
        )  # fmt: skip
        effect = parent.effect
        return self.run(call, given, None if effect is None else effect.tape)

    async def _asked(self, parent: Call | None, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Answer a query that needs more than the shortest way: a span, a timer, a record, repaired arguments."""
        given = self.arguments(given, named)
        effect = None if parent is None else parent.effect
        if parent is None or effect is None:
            return await self.watched(parent, given)
        try:
            asked = (
                self.watched(parent, given)
                if self.operation.repeatable
                else self.services.once(self, parent, given)
            )
            answer = await asked
        except Lost:  # nothing was learned; who asks again gets an answer of its own
            raise
        except Exception as error:
            effect.tape.append((f"{self.title}!", given, raised(error)))
            raise
        effect.tape.append((self.title, given, answer))
        return answer

    async def watched(self, parent: Call | None, given: tuple[Any, ...]) -> Any:
        """Answer a query with its span, cut at its own deadline."""
        call = self.derived(parent)
        if call.trace is None and (
            self.far or call.deadline == NEVER or (parent is not None and call.deadline == parent.deadline)
        ):
            return await self.run(
                call, given
            )  # if there is a deadline, a timer above or below watches over it
        status = "ok"
        try:
            return await within(self.services.deadlines, call, lambda: self.run(call, given))
        except BaseException as error:
            status = type(error).__name__
            raise
        finally:
            if call.trace is not None:
                self.services.tracer.end(call.trace, status)

    async def stream(self, *given: Any, **named: Any) -> AsyncGenerator[Any, None]:
        """Answer a query in pieces; leaving the loop early closes the body."""
        call = self.derived(current.get())
        given = self.arguments(given, named)
        await self.slots.take()
        self.meter.started += 1
        start, status = perf_counter(), "ok"
        pieces = self.body(*given)
        try:
            while True:
                # Set for each piece anew: between two pieces the consumer's own code runs in this context.
                token = current.set(call)
                try:
                    piece = await within(self.services.deadlines, call, pieces.__anext__)
                finally:
                    current.reset(token)
                yield self._conformed(piece)
        except StopAsyncIteration:
            return
        except RAISED as error:
            if isinstance(error, asyncio.CancelledError) and stopped():
                raise
            status, failure = type(error).__name__, self.failure(error)
            raise failure from failure.__cause__
        finally:
            await pieces.aclose()
            self.meter.count(perf_counter() - start)
            self.slots.give()
            if call.trace is not None:
                self.services.tracer.end(call.trace, status)


def _outright(body: Callable[..., Any], *arguments: Any) -> Any:
    """Call a plain function; a StopIteration that gets out would leave a future that never ends."""
    try:
        return body(*arguments)
    except StopIteration as error:
        raise RuntimeError("StopIteration: next() found nothing") from error


def stopped() -> bool:
    """Return whether somebody has cancelled the task that runs; else a body has raised what says so."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _message(kind: Any) -> type:
    """Return a message class, which was checked when it was built, so that nothing more is to be looked at.

    For anything else a class that no value is of.
    """
    return kind if isinstance(kind, type) and issubclass(kind, Message) else Door


async def within(deadlines: Deadlines, call: Call, work: Callable[[], Awaitable[Any]]) -> Any:
    """Return what `work` returns, or cut it at the call's deadline: Expired before it started, Lost once it ran."""
    if call.deadline == NEVER:
        return await work()
    left = call.deadline - perf_counter()
    if left <= 0:
        raise Expired(f"{call.component}.{call.operation}: the deadline passed before it could start")
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    armed = deadlines.arm(asyncio.get_running_loop().time() + left)
    try:
        return await work()
    except asyncio.CancelledError:
        if armed.cut and task is not None and task.uncancel() <= before:
            raise Lost(f"{call.component}.{call.operation}: cut at its deadline; it may have run") from None
        raise
    finally:
        deadlines.disarm(armed)


class Proxy:
    """Stands for a component: one method per operation that its caller may use."""

    def __init__(self, title: str, methods: dict[str, Callable[..., Any]]) -> None:
        """Take the methods as they are: found as plain attributes, so a call costs no look-up of ours."""
        self.__dict__.update(methods)
        self._title = title

    def __repr__(self) -> str:
        """Return what it stands for."""
        return f"<proxy of {self._title}>"

    def __getattr__(self, name: str) -> Any:
        """Refuse what is no operation, saying what is."""
        known = ", ".join(method for method in vars(self) if not method.startswith("_"))
        raise AttributeError(
            f"{self._title} has no operation `{name}` to call here; it has {known or 'none'}"
        )
