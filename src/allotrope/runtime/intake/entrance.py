"""The entrance: where inputs wait for room and get their origins, in the order in which they came.

Not here: what an input leads to (`host`), and those that have their origin and wait in the log (`backlog`).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from allotrope.kernel.errors import Lost, Refused
from allotrope.runtime.flows import Flow, woken
from allotrope.runtime.intake.backlog import Backlog
from allotrope.runtime.intake.entries import repeats
from allotrope.runtime.options import Reused
from allotrope.runtime.sites.site import Joint, Site
from allotrope.storage.ports import Entry, Envelope

Accepted = tuple[Flow | None, int]  # a flow, unless it is over or has yet to begin, and its origin


class Beyond(msgspec.Struct, frozen=True):
    """What a host does with inputs behind its entrance."""

    show: Callable[[Envelope, Any], None]  # one that begins later, to the views
    begin: Callable[[Entry, Any], Flow]
    stopped: Callable[[], BaseException | None]  # why nothing is taken


class Entrance:
    """Takes inputs for one host."""

    def __init__(self, joint: Joint, site: Site, beyond: Beyond, backlog: Backlog | None) -> None:
        """Begin the flow of each input; with a backlog, put off what there is no room for."""
        self.joint, self.site, self.beyond, self._backlog = joint, site, beyond, backlog
        self.durable = joint.log.durability != "none"
        self._inbound: list[tuple[Envelope, Any, asyncio.Future[Accepted]]] = []
        self._queue: deque[asyncio.Future[None]] = deque()  # who waits for room, in the order of arrival
        self._pump: asyncio.Task[None] | None = None
        self._usher: asyncio.Task[None] | None = None

    async def accept(self, envelope: Envelope, value: Any) -> Accepted:
        """Return the flow of an input and its origin; of a repeated request the old one, or None when it is over.

        Where there is a backlog it may have none yet. Overloaded when that is full.
        """
        flights = self.joint.flights
        if self._backlog is None and (self._usher is not None or flights.full):
            await self._place()
        if (stopped := self.beyond.stopped()) is not None:
            raise stopped if isinstance(stopped, Refused) else Refused(str(stopped))
        if not self.durable:  # append does not suspend: nobody can come in between
            return self._taken((await self.joint.log.append((envelope,)))[0], envelope, value)
        if self._backlog is not None:
            self._backlog.check()
        accepted: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._inbound.append((envelope, value, accepted))
        flights.reserve()
        if self._pump is None or self._pump.done():
            self._pump = self.joint.spawn(self._append())
        return await accepted

    async def _place(self) -> None:
        """Return once there is room and nobody waits who came before: they get the smaller origins."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        if self._usher is None or self._usher.done():  # a close ends one before it has begun
            self._usher = self.joint.spawn(self._admit())
        await waiter

    async def _admit(self) -> None:
        """Let in as many at once as there is room for: what comes in together is appended together."""
        try:
            while self._queue:
                await self.joint.flights.room()
                for _ in range(min(self.joint.flights.free, len(self._queue))):
                    woken([self._queue.popleft()])
                await asyncio.sleep(0)  # until they have taken their places: who comes meanwhile waits
        finally:
            self._usher = None

    async def _append(self) -> None:
        """Append what has come in, in groups. Flows begin here, in the order of origins, whoever still waits."""
        while self._inbound:
            group, self._inbound = self._inbound, []
            try:
                entries = await self.joint.log.append([envelope for envelope, _, _ in group])
            except BaseException as error:
                _lose([accepted for *_, accepted in group], error)
                self.joint.flights.release(len(group))
                if not isinstance(error, Refused):
                    raise
                continue
            for entry, (envelope, value, accepted) in zip(entries, group, strict=True):
                try:
                    taken = self._taken(entry, envelope, value)
                except Refused as error:
                    _lose([accepted], error)
                    continue
                if not accepted.done():
                    accepted.set_result(taken)
            self.joint.flights.release(len(group))

    def _taken(self, entry: Entry, given: Envelope, value: Any) -> Accepted:
        origin, flights = entry.envelope.origin, self.joint.flights
        if origin <= flights.newest:
            if not repeats(self.site, entry.envelope, given):
                text = f"request id {given.request!r} was used before with other values; take a new id"
                raise Reused(f"{given.kind}: {text}")
            return flights.flows.get(origin), origin
        if self._backlog is None:
            return self.beyond.begin(entry, value), origin
        self._backlog.mark = entry.position
        if not flights.waiting and not flights.crowded:
            return self.beyond.begin(entry, value), origin
        self.beyond.show(entry.envelope, value)
        self._backlog.put_off(entry, self._backlog.current)
        self._backlog.wake()
        return None, origin

    def close(self, reason: BaseException) -> None:
        """Tell those who still wait that they get no origin."""
        _lose([accepted for *_, accepted in self._inbound], reason)
        _lose(list(self._queue), reason)


def _lose(waiting: list[asyncio.Future[Any]], error: BaseException) -> None:
    """Tell those who wait for an origin that it will not come; whether the log has taken the input is open."""
    if not isinstance(error, Refused | Lost):
        error = Lost(f"stopped while it was being accepted, it may have been: {error}")
    for accepted in waiting:
        if not accepted.done():
            accepted.set_exception(error)
