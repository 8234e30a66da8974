"""The turnstile: how many requests are in flight, and whose turn it is when there are more.

Start-time fair queueing: a tenant's request is stamped one step, over its weight, after the tenant's one before; the
smallest stamp goes first. So a tenant that asks little waits for one place at most, however much another asks.
Source: Goyal, Vin & Cheng, 1997. Rates are in `buckets`.
"""

import asyncio
from collections import deque

from allotrope.kernel.errors import Overloaded

MOST = 10_000  # tenants whose last stamp is remembered


class Turnstile:
    """The places in flight and the lines before them."""

    def __init__(self, places: int, queue: int) -> None:
        """Let `places` in at once, and let `queue` wait."""
        self.places, self.free, self.queue = places, places, queue
        self.waiting = self.refused = 0
        self._lines: dict[str, deque[tuple[float, asyncio.Future[None]]]] = {}
        self._weights: dict[str, float] = {}
        self._stamps: dict[str, float] = {}
        self._now = 0.0  # the stamp that was let in last

    def enter(self, tenant: str, weight: float) -> asyncio.Future[None] | None:
        """Take a place and return None, or return what is done once there is one.

        Raises Overloaded when too many wait. Who has entered, and only then, calls `leave`.
        """
        stamp = max(self._now, self._stamps.get(tenant, 0.0))
        if self.free > 0:  # then nobody waits
            self.free -= 1
            self._now = stamp  # what was had while there was room is not held against anybody later
            self._stamp(tenant, stamp + 1.0 / weight)
            return None
        if self.waiting >= self.queue:
            self._make_room(tenant, weight)
        self._stamp(tenant, stamp + 1.0 / weight)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._weights[tenant] = weight
        self._lines.setdefault(tenant, deque()).append((stamp, turn))
        self.waiting += 1
        return turn

    def leave(self) -> None:
        """Give the place back, and on to whose turn it is."""
        self.free += 1
        while self.free > 0 and self._lines:
            tenant = min(self._lines, key=lambda name: self._lines[name][0][0])
            stamp, turn = self._out(tenant, newest=False)
            if not turn.done():
                self._now = max(self._now, stamp)
                self.free -= 1
                turn.set_result(None)

    def quit(self, turn: asyncio.Future[None]) -> None:
        """Give up waiting; a place that came at the same moment goes on to the next."""
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self.leave()
        turn.cancel()
        for tenant, line in list(self._lines.items()):
            kept = deque(entry for entry in line if entry[1] is not turn)
            if len(kept) < len(line):
                self.waiting -= 1
                self._lines[tenant] = kept
                if not kept:
                    self._close(tenant)
                return

    def _make_room(self, tenant: str, weight: float) -> None:
        """Send away the newest of whoever waits most for its weight; Overloaded when that is the newcomer itself."""
        self.refused += 1
        own = (len(self._lines.get(tenant, ())) + 1) / weight
        fullest = max(self._lines, key=lambda n: len(self._lines[n]) / self._weights[n], default=tenant)
        if fullest == tenant or len(self._lines[fullest]) / self._weights[fullest] <= own:
            raise overloaded()
        _, turn = self._out(fullest, newest=True)
        if not turn.done():
            turn.set_exception(overloaded())

    def _out(self, tenant: str, *, newest: bool) -> tuple[float, asyncio.Future[None]]:
        line = self._lines[tenant]
        entry = line.pop() if newest else line.popleft()
        self.waiting -= 1
        if newest:
            self._stamps[tenant] = entry[0]
        if not line:
            self._close(tenant)
        return entry

    def _close(self, tenant: str) -> None:
        del self._lines[tenant], self._weights[tenant]

    def _stamp(self, tenant: str, stamp: float) -> None:
        self._stamps[tenant] = stamp
        if len(self._stamps) > MOST:
            self._stamps = {name: at for name, at in self._stamps.items() if at > self._now}


def overloaded() -> Overloaded:
    """Return what is told to who finds no room."""
    return Overloaded("all places are taken and too many wait; come back later", 1.0)
