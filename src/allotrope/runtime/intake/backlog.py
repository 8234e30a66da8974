"""The backlog: inputs that the log has and that wait for room. They are counted here; what they hold stays in the log.

So does what deliveries hold that wait, but for a window of them: it is read again once they may go on. Not here: who
waits for whom (`turns`), which topologies let inputs wait so (`host`).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from allotrope.kernel import codec
from allotrope.kernel.errors import Overloaded
from allotrope.runtime.flows import Flow
from allotrope.runtime.intake.entries import VERSION, Takers, owed, takers_of, value_of
from allotrope.runtime.intake.turns import Turn
from allotrope.runtime.routes import Delivery, Route
from allotrope.runtime.sites.site import Joint, Site
from allotrope.storage.ports import Entry, Envelope

log = logging.getLogger("allotrope")
AHEAD = 64  # entries that are read at once
FAR = 1000  # and at most, where one is looked for
RATE_S = 10.0  # over which the drain rate is measured
LONGEST_S = 60.0  # that anybody is told to stay away


class Backlog:
    """Begins, in the order of origins, what has waited; sends away who comes when too much does."""

    def __init__(
        self, joint: Joint, site: Site, most: int, begin: Callable[[Entry, Any, list[Route]], Flow]
    ) -> None:
        """Let `most` inputs wait beside those of the window; `begin` gives one to those who take it."""
        self.joint, self.site, self.most, self._begin = joint, site, most, begin
        self.mark = 0  # no input that comes now gets a smaller position
        self.current = takers_of(site.routes)
        self._position = 0  # of the log, from where on it is to be read
        self._takers: Takers | None = None  # there
        self._read: deque[Entry] = deque()
        self.oldest = 0  # when the oldest input was accepted that waits unread
        self._reader: asyncio.Task[None] | None = None
        self._held = 0  # deliveries that wait with all that they hold
        self.kinds: dict[str, int] = {}  # of the inputs that wait unread, how many there are
        self._rates = deque[tuple[float, int]](maxlen=2)  # (moment, flows that had ended)

    # -- inputs

    def put_off(self, entry: Entry, takers: Takers | None) -> None:
        """Take note of an input that begins later; `takers` are those of its place in the log."""
        flights = self.joint.flights
        if not flights.waiting:
            self._position, self._takers, self.oldest = entry.position, takers, entry.envelope.at
            self._read.clear()
        flights.put_off(entry.envelope.origin)
        kind = entry.envelope.kind
        self.kinds[kind] = self.kinds.get(kind, 0) + 1

    def wake(self) -> None:
        """Begin what there is room for, from now on."""
        if self.joint.flights.waiting and (self._reader is None or self._reader.done()):
            self._reader = self.joint.spawn(self._drain())

    async def _drain(self) -> None:
        flights = self.joint.flights
        while flights.waiting and flights.lost is None:
            entry = self._read.popleft() if self._read else await self._more()
            if entry is None:
                continue
            if entry.envelope.path == VERSION:
                self._takers = codec.decode(entry.envelope.body, Takers)
            elif not entry.envelope.path and entry.envelope.origin > flights.begun:
                self.oldest = entry.envelope.at
                await flights.calm()
                if flights.lost is None:
                    self._start(entry)

    async def _more(self) -> Entry | None:
        entries = await self.joint.log.read(self._position, AHEAD)
        if not entries:  # not readable yet
            await asyncio.sleep(0.01)
            return None
        self._position = entries[-1].position + 1
        self._read.extend(entries)
        return self._read.popleft()

    def _start(self, entry: Entry) -> None:
        self.joint.flights.waiting -= 1
        self.kinds[entry.envelope.kind] -= 1
        routes = list(owed(self.site, entry, self._takers, frozenset()))
        self._begin(entry, value_of(self.site, entry), routes)

    def check(self) -> None:
        """Raise Overloaded when no more may wait."""
        flights = self.joint.flights
        if flights.waiting + len(flights.flows) < self.most + flights.window:
            return
        text = (
            f"{self.most:,} accepted inputs wait already, and that is the most, as [log] says with `backlog`"
        )
        raise Overloaded(f"{text}; send it again later", self._retry_s())

    def _retry_s(self) -> float:
        """Return how long it takes, as fast as of late, until a hundredth of the backlog is done."""
        now = monotonic(), self.joint.flights.ended
        if not self._rates or now[0] - self._rates[-1][0] > RATE_S:
            self._rates.append(now)
        moment, ended = self._rates[0]
        done, passed = now[1] - ended, now[0] - moment
        return min(max(self.most / 100 * passed / done, 1.0), LONGEST_S) if done else 1.0 + passed

    def age_s(self, now: int) -> float:
        """Return for how long the oldest unfinished input has been there, 0.0 when there is none."""
        flights = self.joint.flights
        oldest = flights.flows.get(flights.floor())
        if oldest is None and not flights.waiting:
            return 0.0
        return max((now - (self.oldest if oldest is None else oldest.at)) / 1_000_000, 0.0)

    # -- deliveries that wait

    def lay(self, turn: Turn) -> None:
        """Let a delivery that waits hold no more than where its event is, when a whole window of them waits already."""
        if turn.away:
            return
        if self._held < self.joint.flights.window:
            turn.kept = True
            self._held += 1
        else:
            turn.away = True
            empty(turn.delivery)

    def resumed(self, turn: Turn) -> None:
        """Take note that a delivery goes on."""
        self._held -= turn.kept
        turn.kept = False

    async def load(self, turn: Turn) -> None:
        """Return once a delivery has back what it holds."""
        delivery = turn.delivery
        entry = await self._found(turn.flow, delivery.envelope.path, delivery.position)
        delivery.value = value_of(self.site, entry)
        delivery.envelope, turn.away = entry.envelope, False

    async def _found(self, flow: Flow, path: str, position: int) -> Entry:
        """Return the entry of an event that was put on its way to the log, where it comes at `position` or later."""
        limit, looks = 1 if not path else AHEAD, 0
        while True:
            flow.check()
            entries = await self.joint.log.read(position, limit)
            for entry in entries:
                if (entry.envelope.origin, entry.envelope.path) == (flow.origin, path):
                    return entry
            if len(entries) == limit:
                position, limit = entries[-1].position + 1, min(limit * 4, FAR)
                continue
            looks += (
                1  # an earlier attempt has put it there long ago, or it is still on its way from its ledger
            )
            position, limit = flow.position, FAR
            if looks % 16 == 0:
                log.warning("%s%s is not in the log yet; it is looked for again", flow.origin, path)
            await asyncio.sleep(min(0.01 * 2**looks, 1.0))


def empty(delivery: Delivery) -> None:
    """Let a delivery hold no more than its place, title and key."""
    envelope, delivery.value = delivery.envelope, None
    delivery.envelope = Envelope(
        envelope.kind, envelope.key, b"", envelope.at, envelope.origin, envelope.path
    )
