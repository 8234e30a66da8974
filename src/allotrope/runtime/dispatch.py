"""Dispatch: the one path of every query. Deadline, limits, types, trace and counters, then the body.

`Door` is one operation of one component, ready to be called; a proxy is an object whose methods are doors. Commands
and handlers go through flows (`host`), which use `Door.run` for the same bodies.
"""

import asyncio
import contextvars
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from allotrope.kernel import codec
from allotrope.kernel.calls import LAST_ORIGIN, NEVER, Call, current
from allotrope.kernel.errors import Expired, Failed, Lost, Refused
from allotrope.kernel.exactness import check
from allotrope.kernel.messages import Fault, conform
from allotrope.kernel.operations import Operation
from allotrope.runtime.batches import Batcher
from allotrope.runtime.deadlines import Deadlines
from allotrope.runtime.limits import Slots
from allotrope.runtime.meters import Meter
from allotrope.runtime.records import raised
from allotrope.runtime.tracing import Tracer

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

    def __init__(self, operation: Operation, instance: object, slots: Slots, services: Services) -> None:
        """Bind the body to the instance and compile the checks of its types."""
        self.operation, self.slots, self.services = operation, slots, services
        self.meter = services.meters.setdefault(operation.title, Meter(operation.title))
        self.deadline_s = operation.deadline_s
        self.kinds = list(operation.parameters().items())
        self.result = operation.result()
        self.exact_arguments = check(tuple((f"v[{i}]", kind) for i, (_, kind) in enumerate(self._single_kinds())))
        self.exact_result = check((("v", self.result),))
        self.body: Callable[..., Any] = functools.partial(operation.body, instance)
        if not operation.suspends and not operation.streams:
            self.body = functools.partial(self._in_thread, self.body)
        if operation.batch:
            self.body = Batcher(operation.title, self.body, operation.batch).call

    def _single_kinds(self) -> list[tuple[str, Any]]:
        if self.operation.batch:  # declared on a tuple, called with one value
            self.kinds = [(name, kind.__args__[0]) for name, kind in self.kinds]
        return self.kinds

    async def _in_thread(self, body: Callable[..., Any], *arguments: Any) -> Any:
        context = contextvars.copy_context()
        future = asyncio.get_running_loop().run_in_executor(self.services.pool, context.run, body, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            # The thread cannot be stopped. It keeps its place until it ends, so that the limit stays true.
            self.slots.free -= 1
            future.add_done_callback(lambda done: (done.exception() if not done.cancelled() else None, self.slots.give()))
            raise

    def arguments(self, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        """Return the arguments in order, each exactly of its type. Refused names the one that does not fit."""
        if named or len(given) != len(self.kinds):
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

    def decoded(self, body: bytes) -> tuple[Any, ...]:
        """Return the arguments that `body` holds, as an envelope carries them."""
        return codec.decode(body, tuple[tuple(kind for _, kind in self.kinds)])  # type: ignore[misc]  # built at run time

    def failure(self, error: Exception) -> Exception:
        """Return the error as the caller sees it, the same over any link: declared faults and our own pass through."""
        self.meter.fail(error)
        if isinstance(error, PASSED_ON) or (isinstance(error, Fault) and isinstance(error, self.operation.faults)):
            return error
        failed = Failed(self.operation.component, self.operation.name, f"{type(error).__name__}: {error}")
        failed.__cause__ = error
        return failed

    async def run(self, call: Call, arguments: tuple[Any, ...]) -> Any:
        """Run the body as `call`, within its deadline and the component's limit; the answer is exactly of its type."""
        meter, slots = self.meter, self.slots
        if slots.free > 0 and not slots.waiting:
            slots.free -= 1
        else:
            await slots.take()
        meter.running += 1
        start = perf_counter()
        token = current.set(call)
        try:
            answer = await self.body(*arguments)
            if not self.exact_result(answer):
                answer = conform(answer, self.result, f"the answer of {self.operation.title}")
            return answer
        except Exception as error:
            failure = self.failure(error)
            raise failure from failure.__cause__
        finally:
            current.reset(token)
            meter.running -= 1
            meter.count(perf_counter() - start)
            slots.give()

    def derived(self, parent: Call | None) -> Call:
        """Return the call of a query made by `parent`: same origin and deadline, no effect of its own."""
        operation, services = self.operation, self.services
        if parent is None:
            trace = services.tracer.root(operation.title)
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

    async def ask(self, *given: Any, **named: Any) -> Any:
        """Answer a query; the shape of a proxy's method."""
        parent = current.get()
        if named or len(given) != len(self.kinds) or not self.exact_arguments(given):
            given = self.arguments(given, named)
        effect = None if parent is None else parent.effect
        try:
            if parent is not None and effect is not None and not self.operation.repeatable:
                answer = await self.services.once(self, parent, given)
            else:
                call = self.derived(parent)
                if call.trace is None and (call.deadline == NEVER or (parent and call.deadline == parent.deadline)):
                    if perf_counter() >= call.deadline:
                        raise self.failure(Expired(f"{call.component}.{call.operation}: the deadline passed before it began"))
                    answer = await self.run(call, given)
                else:
                    answer = await self._watched(call, given)
        except Exception as error:
            if effect is not None:
                effect.tape.append((f"{self.operation.title}!", given, raised(error)))
            raise
        if effect is not None:
            effect.tape.append((self.operation.title, given, answer))
        return answer

    async def _watched(self, call: Call, given: tuple[Any, ...]) -> Any:
        status = "ok"
        try:
            return await within(self.services.deadlines, call, lambda: self.run(call, given))
        except BaseException as error:
            status = type(error).__name__
            raise
        finally:
            if call.trace is not None:
                self.services.tracer.end(call.trace, status)

    async def stream(self, *given: Any, **named: Any) -> AsyncIterator[Any]:
        """Answer a query in pieces; leaving the loop early closes the body."""
        call = self.derived(current.get())
        given = self.arguments(given, named)
        await self.slots.take()
        self.meter.running += 1
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
                yield conform(piece, self.result, f"a piece of {self.operation.title}")
        except StopAsyncIteration:
            return
        except Exception as error:
            status, failure = type(error).__name__, self.failure(error)
            raise failure from failure.__cause__
        finally:
            await pieces.aclose()
            self.meter.running -= 1
            self.meter.count(perf_counter() - start)
            self.slots.give()
            if call.trace is not None:
                self.services.tracer.end(call.trace, status)


async def within(deadlines: Deadlines, call: Call, work: Callable[[], Awaitable[Any]]) -> Any:
    """Return what `work` returns, or cut it at the call's deadline: Expired before it started, Lost once it ran."""
    if call.deadline == NEVER:
        return await work()
    left = call.deadline - perf_counter()
    if left <= 0:
        raise Expired(f"{call.component}.{call.operation}: the deadline passed before it could start")
    armed = deadlines.arm(asyncio.get_running_loop().time() + left)
    try:
        return await work()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if armed.cut and task is not None and task.uncancel() == 0:
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
        raise AttributeError(f"{self._title} has no operation `{name}` to call here; it has {known or 'none'}")
