"""An intake: takes the messages of one source into a host. The broker forgets one only when the log holds it.

A message that can never be taken is rejected, with the reason; one for which there is no room now is tried again, and
those of its key behind it wait. A repeated one, by source and id or by its message id, has no second effect.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from allotrope.connectors.cloudevents.bindings import Binding, is_structured
from allotrope.connectors.cloudevents.mapping import input_of, json_of, known
from allotrope.connectors.ports import Arrived, Away, Inlet, kept_up, log
from allotrope.kernel.errors import Lost, Overloaded, Refused
from allotrope.kernel.messages import Event
from allotrope.planning.topology import Source
from allotrope.runtime.doors.graces import cancelled
from allotrope.runtime.options import Input
from allotrope.runtime.tracing import check_traceparent

FIRST_S, MOST_S = 0.05, 5.0  # between two tries of one message
Readers = Mapping[str, Callable[[bytes], Event]]  # from JSON, by event type


class Taker(Protocol):
    """A host, as far as an intake knows it."""

    stopped: BaseException | None

    async def publish(self, event: Event, given: Input) -> int:
        """Accept an event."""


class Intake:
    """Takes what one source gives."""

    def __init__(
        self, name: str, source: Source, opened: Callable[[], AbstractAsyncContextManager[Inlet]],
        binding: Binding, taker: tuple[Taker, Readers],
    ) -> None:  # fmt: skip
        """Give it to a taker, with what reads its events; nothing is asked of the broker before `run`."""
        self.name, self.source, self.binding = name, source, binding
        self.taker, self.readers = taker
        self.taken = self.rejected = 0
        self._opened = opened
        self._lanes: dict[str, asyncio.Task[None]] = {}  # the last message of each key that is being taken
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Take messages until cancelled."""
        try:
            await kept_up(f"source {self.name}", self._session)
        finally:
            await cancelled(self._tasks)

    async def _session(self) -> None:
        async with self._opened() as inlet:
            while self.taker.stopped is None:
                self._begin(await inlet.next(), inlet)
        raise Refused(f"the app takes nothing any more: {self.taker.stopped}")

    def _begin(self, arrived: Arrived, inlet: Inlet) -> None:
        try:
            event, given = self.read(arrived)
        except Refused as error:
            self._spawn(self._reject(arrived, str(error), inlet))
            return
        key = event.entity
        task = self._lanes[key] = self._spawn(
            self._take(arrived, (event, given), inlet, self._lanes.get(key))
        )
        task.add_done_callback(lambda done: self._lanes.pop(key) if self._lanes.get(key) is done else None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def read(self, arrived: Arrived) -> tuple[Event, Input]:
        """Return the event in a message and what comes with it. Refused when it holds none that is taken here."""
        headers, source = arrived.headers, self.source
        hop = next((str(value) for name, value in headers if name.lower() == "traceparent"), "")
        named = {name.lower() for name, _ in headers}
        if is_structured(self.binding.media(headers, arrived.media)) or any(
            f"{p}specversion".lower() in named for p in self.binding.prefixes
        ):
            event = self.binding.read(headers, arrived.body, arrived.media)
            if source.event and event.type != source.event:
                raise Refused(f"source {self.name} takes {source.event}, and this is `{event.type:.80}`")
            return known(event, self.readers)(json_of(event)), input_of(event, source.tenant, hop)
        if not source.event:
            raise Refused(f"this is no CloudEvent, and source {self.name} does not say which event it is")
        # Without an id it is known again for as long as this process tries it, and not by the broker's next delivery.
        request = f"{self.name} {arrived.ident or uuid.uuid4()}"
        trace = check_traceparent(hop)
        return self.readers[source.event](arrived.body), Input(
            request=request, tenant=source.tenant, traceparent=trace
        )

    async def _take(
        self, arrived: Arrived, read: tuple[Event, Input], inlet: Inlet, before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await asyncio.wait((before,))
        pause_s = FIRST_S
        while True:
            try:
                await self.taker.publish(*read)
                break
            except (Overloaded, Lost) as error:
                wait_s = getattr(error, "retry_after_s", None) or pause_s
            except Refused as error:
                if self.taker.stopped is not None:
                    return
                if error.retry_after_s is None:
                    await self._reject(arrived, str(error), inlet)
                    return
                wait_s = error.retry_after_s
            if self.taker.stopped is not None:
                return  # the broker still has it
            await asyncio.sleep(min(wait_s, MOST_S))
            pause_s = min(2 * pause_s, MOST_S)
        self.taken += 1
        await _told(inlet.acknowledge(arrived))

    async def _reject(self, arrived: Arrived, reason: str, inlet: Inlet) -> None:
        self.rejected += 1
        log.warning("source %s: a message cannot be taken: %s", self.name, reason)
        await _told(inlet.reject(arrived, reason))


async def _told(work: Awaitable[None]) -> None:
    """Tell a broker; one that is away gives the message again, and then it is known."""
    try:
        await work
    except Away as error:
        log.warning("a message that is dealt with stays at its broker: %s", error)
