"""Inputs as JSON lines, and their answers as JSON lines, in the order in which they came.

    {"event": "Submitted", "data": {...}}             accepted as the next input
    {"call": "Desk.settle", "data": {...} or [...]}   a command; a query waits for all before it

Beside these may stand `at`, `request`, `tenant`, `traceparent` and `deadline_s`.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any, TextIO

import msgspec

from allotrope.kernel.errors import Failed, Lost, Refused, nearest
from allotrope.kernel.messages import Event, Fault
from allotrope.kernel.operations import Operation
from allotrope.kernel.views import View
from allotrope.runtime.doors.arrays import array_of, listed
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input
from allotrope.runtime.telemetry.secrets import mask

Answer = dict[str, Any]
Work = Callable[[], Awaitable[Answer]]
AT_ONCE = 256  # lines whose answers are awaited side by side
_CHUNK = 1 << 16


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """One line of input."""

    event: str = ""
    call: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")
    at: datetime | None = None
    request: str = ""
    tenant: str = ""
    traceparent: str = ""
    deadline_s: float | None = None


class Tally(msgspec.Struct):
    """What became of the lines so far."""

    read: int = 0
    answered: int = 0
    faults: int = 0
    refused: int = 0  # or failed, or lost
    first_refused: int = 0


class Feed:
    """Gives lines to a host and writes the answers."""

    def __init__(self, host: Host, out: TextIO) -> None:
        """Answer to `out`."""
        self.host, self.out = host, out
        self.tally = Tally()
        self._queue: asyncio.Queue[tuple[int, asyncio.Task[Answer]]] = asyncio.Queue(AT_ONCE)
        self._tasks: set[asyncio.Task[Answer]] = set()
        self._printer: asyncio.Task[None] | None = None

    async def take(self, source: AsyncIterator[list[bytes]]) -> None:
        """Feed all lines of `source`; return once each has its answer."""
        self._printer = asyncio.create_task(self._print())
        reading = asyncio.create_task(self._read(source))
        try:
            await _first((reading, self._printer))
        finally:
            reading.cancel()
        await self.finish()

    async def _read(self, source: AsyncIterator[list[bytes]]) -> None:
        async for lines in source:
            for line in lines:
                self.tally.read += 1
                if line.strip():
                    await self._begin(self.tally.read, line)

    async def _begin(self, number: int, line: bytes) -> None:
        try:
            work, alone = self._prepared(line)
        except (Refused, msgspec.DecodeError) as error:
            message = str(error) if isinstance(error, Refused) else f"this is no input: {error}"
            work, alone = _refused(Refused(message)), False
        if alone:  # a query sees the effect of all that stands before it, and of nothing after it
            await self._queue.join()
            await self.host.settled()
        task = asyncio.create_task(_answered(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await self._queue.put((number, task))
        if alone:
            await self._queue.join()

    def _prepared(self, line: bytes) -> tuple[Work, bool]:
        """Return what to do for a line, and whether it has to be alone. Refused says what is wrong."""
        given = msgspec.json.decode(line, type=Line)
        if bool(given.event) == bool(given.call):
            raise Refused('a line names an "event" or a "call", one of the two')
        about = Input(
            request=given.request, at=given.at, tenant=given.tenant, traceparent=given.traceparent,
            deadline_s=given.deadline_s,
        )  # fmt: skip
        if given.event:
            event = self._event(given.event, given.data)
            return lambda: self._publish(event, about), False
        operation = self.host.plan.app.operation(given.call)
        if operation.kind not in ("query", "command"):
            raise Refused(f"{given.call} is no query and no command: it runs when its event comes")
        arguments = self._arguments(operation, given.data)
        if operation.kind == "command":
            return lambda: self._tell(operation, arguments, about), False
        return lambda: self._ask(operation, arguments), True

    def _event(self, name: str, data: msgspec.Raw) -> Event:
        kinds = self.host.plan.app.events()
        if name not in kinds:
            raise Refused(f"app {self.host.plan.app.name} has no event {name}. {nearest(name, kinds)}")
        kind = kinds[name]
        for field in msgspec.json.decode(data, type=dict[str, msgspec.Raw]):
            if field not in kind.__struct_fields__:
                raise Refused(f"{name} has no field `{field}`. {nearest(field, kind.__struct_fields__)}")
        event: Event = _decoded(data, kind, name)
        return event

    def _arguments(self, operation: Operation, data: msgspec.Raw) -> tuple[Any, ...]:
        door = self.host.wiring.door(operation.title, "")
        kinds = dict(door.kinds)
        given = msgspec.json.decode(data, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
        if isinstance(given, list):
            if len(given) > len(kinds):
                raise Refused(
                    f"{operation.title} takes {len(kinds)} arguments, got {len(given)}: {', '.join(kinds)}"
                )
            given = dict(zip(kinds, given, strict=False))
        for name in given:
            if name not in kinds:
                raise Refused(f"{operation.title} has no parameter `{name}`. {nearest(name, kinds)}")
        named = {
            name: _decoded(raw, kinds[name], f"{operation.title}({name})") for name, raw in given.items()
        }
        return door.arguments((), named)

    async def _publish(self, event: Event, about: Input) -> Answer:
        return {"origin": await self.host.publish(event, about)}

    async def _tell(self, operation: Operation, arguments: tuple[Any, ...], about: Input) -> Answer:
        return {"answer": await self.host.tell(operation.title, arguments, about)}

    async def _ask(self, operation: Operation, arguments: tuple[Any, ...]) -> Answer:
        owner = self.host.plan.app.components[operation.component]
        ask = getattr(self.host.of(owner.kind), operation.name)
        if operation.streams:
            return {"pieces": [piece async for piece in ask(*arguments)]}
        return {"answer": await ask(*arguments)}

    async def _print(self) -> None:
        """Write the answers in the order of their lines."""
        while True:
            number, task = await self._queue.get()
            await asyncio.wait([task])
            answer = task.result() if not task.cancelled() else _told(Lost("stopped before it ended"))
            self._count(number, answer)
            text = msgspec.json.encode({"line": number, **answer}, enc_hook=_plain).decode()
            self.out.write(f"{mask(text)}\n")
            if self._queue.empty():
                self.out.flush()
            self._queue.task_done()

    def _count(self, number: int, answer: Answer) -> None:
        tally = self.tally
        tally.answered += 1
        tally.faults += "fault" in answer
        if "error" in answer:
            tally.refused += 1
            tally.first_refused = tally.first_refused or number

    async def abandon(self) -> None:
        """Write the answers that there are, and Lost for lines that have none; after the host was drained."""
        if self._tasks:
            _, waiting = await asyncio.wait(self._tasks, timeout=1.0)
            for task in waiting:
                task.cancel()
        await self.finish()

    async def finish(self) -> None:
        """Return once every line begun has its answer."""
        printer, self._printer = self._printer, None
        if printer is not None:
            await _first((asyncio.create_task(self._queue.join()), printer))
            printer.cancel()
            self.out.flush()


async def _first(tasks: tuple[asyncio.Task[Any], ...]) -> None:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()  # the printer ends only when nobody reads what it writes: this raises it


async def _answered(work: Work) -> Answer:
    try:
        return await work()
    except (Refused, Failed, Lost, Fault) as error:
        return _told(error)


def _refused(error: Refused) -> Work:
    async def work() -> Answer:
        raise error

    return work


def _told(error: Exception) -> Answer:
    if isinstance(error, Fault):
        return {"fault": type(error).__name__, "fields": error.body}
    return {"error": type(error).__name__, "message": str(error)}


def _decoded(data: msgspec.Raw, kind: Any, place: str) -> Any:
    try:
        return msgspec.json.Decoder(kind, dec_hook=array_of).decode(data)
    except msgspec.ValidationError as error:
        raise Refused(f"{place}: {error}") from None


def _plain(value: Any) -> Any:
    return value.__dict__ if isinstance(value, View) else listed(value)


# -- where lines come from


async def lines_of(descriptor: int) -> AsyncIterator[list[bytes]]:
    """Yield groups of lines from an open file; a thread reads, so a terminal may take its time."""
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(4)

    def read() -> None:
        # Not sys.stdin: a thread that waits in there holds a lock that the interpreter wants when it ends.
        chunk = b"-"
        while chunk:
            room.acquire()
            chunk = os.read(descriptor, _CHUNK)
            try:
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            except RuntimeError:  # the loop is closed: nobody wants the rest
                return

    threading.Thread(target=read, name="input", daemon=True).start()
    rest = b""
    while chunk := await chunks.get():
        *lines, rest = (rest + chunk).split(b"\n")
        yield lines
        room.release()
    yield [rest] if rest else []
