"""Waits: what an input, or one delivery of it, waits for, followed to the root of it.

Asked of the host, which gives the order, and so knows who waits for whom. It changes nothing.
"""

import asyncio
import re
from collections.abc import Iterator

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.runtime.effects.holds import Hold
from allotrope.runtime.effects.letters import DeadLetter, Search
from allotrope.runtime.flows import Flow
from allotrope.runtime.host import Host
from allotrope.runtime.intake.turns import Turn
from allotrope.runtime.routes import Delivery

EVENT = re.compile(r"(\d{1,18})((?:/\w+\.\w+#\w+)*)(?:/(\w+\.\w+))?")
LONGEST = 50  # links of a chain that are shown


class Wait(msgspec.Struct, frozen=True, array_like=True):
    """One link of a chain: what waits, at which operation, why, and since when, 0 where that is not known."""

    name: str
    title: str
    why: str
    since: int = 0


class Waits:
    """Follows one chain."""

    def __init__(self, host: Host) -> None:
        """Ask a host."""
        self.host, self.flights, self.turns = host, host.flights, host.turns
        self._seen: set[tuple[int, str, str]] = set()
        self._holds: tuple[Hold, ...] = ()

    async def why(self, name: str) -> tuple[Wait, ...]:
        """Return the chain from an origin, an event, a delivery or a request id on. Refused when there is none."""
        parts = EVENT.fullmatch(name)
        origin = int(parts[1]) if parts else self._requested(name)
        if not 0 < origin <= self.flights.newest:
            newest = self.flights.newest
            raise Refused(f"nothing that is at work here is called `{name}`; the newest input is {newest}")
        self._holds = await self.host.site.holds()
        chain = list[Wait]()
        wanted: tuple[int, str, str] | None = (
            origin,
            parts[2] if parts else "",
            (parts[3] or "") if parts else "",
        )
        while wanted is not None and wanted not in self._seen and len(chain) < LONGEST:
            self._seen.add(wanted)
            wait, wanted = await self._link(*wanted)
            chain.append(wait)
        return tuple(chain)

    def _requested(self, request: str) -> int:
        """Return the origin of an input in flight by its request id, 0 when there is none."""
        for flow in self.flights.flows.values():
            if any(each.envelope.request == request and not each.envelope.path for each in self._left(flow)):
                return flow.origin
        return 0

    def _left(self, flow: Flow) -> list[Delivery]:
        if self.turns is None:
            return flow.left()
        return [turn.delivery for turn in self.turns.turns.values() if turn.flow is flow]

    async def _link(self, origin: int, path: str, title: str) -> tuple[Wait, tuple[int, str, str] | None]:
        flow = self.flights.flows.get(origin)
        if self.flights.lost is not None:
            return Wait(str(origin), "", f"the app has stopped: {self.flights.lost}"), None
        if flow is None and origin > self.flights.begun:
            waiting, begun = self.flights.waiting, len(self.flights.flows)
            text = f"it waits in the log for room: {waiting:,} inputs do, and {begun:,} have begun"
            return Wait(str(origin), "", text, self.host.backlog.oldest), (self.flights.floor(), "", "")
        if flow is None or ((path or title) and not any(self._found(flow, path, title))):
            return await self._finished(origin, path, title)
        delivery = next(self._found(flow, path, title), None) or next(self._found(flow, "", ""), None)
        if delivery is None:
            return Wait(str(origin), "", "nothing: it is about to end"), None
        return await self._at(flow, delivery)

    def _found(self, flow: Flow, path: str, title: str) -> Iterator[Delivery]:
        """Yield the deliveries that are to be done, of one event or operation where that is given, the first first."""
        left = sorted(self._left(flow), key=lambda each: (each.envelope.path, each.route.bit))
        for delivery in left:
            if path in ("", delivery.envelope.path) and title in ("", delivery.route.title):
                yield delivery

    async def _at(self, flow: Flow, delivery: Delivery) -> tuple[Wait, tuple[int, str, str] | None]:
        name, route = f"{flow.origin}{delivery.envelope.path}", delivery.route
        if self.turns is not None:
            turn = next(turn for turn in self.turns.turns.values() if turn.delivery is delivery)
            if (before := self.turns.blocker(turn)) is not None:
                return Wait(name, route.title, _older(delivery, before.delivery), flow.at), _place(before)
            if not turn.placed:
                text = f"{route.component} has as many deliveries at work as the window lets in"
                older = min((t for t in self.turns.turns.values() if t.placed and t.delivery.route.bit == route.bit),
                            key=lambda t: t.key, default=None)  # fmt: skip
                return Wait(name, route.title, text, flow.at), None if older is None else _place(older)
        elif flow.lane is not None and (other := self.flights.blocker(flow, delivery)) is not None:
            head = other.next()
            text = f"it waits for origin {other.origin}" if head is None else _older(delivery, head)
            return Wait(name, route.title, text, flow.at), (other.origin, "", "")
        elif flow.next() is not delivery and (head := flow.next()) is not None:
            text = f"it comes after {head.route.title} of the same input"
            return Wait(name, route.title, text, flow.at), (flow.origin, head.envelope.path, head.route.title)
        why, since = await self._running(flow, delivery)
        return Wait(name, route.title, why, since or flow.at), None

    async def _running(self, flow: Flow, delivery: Delivery) -> tuple[str, int]:
        """Return what keeps a delivery that waits for no other one."""
        route, plan = delivery.route, self.host.plan
        unit = next((unit for unit, names in plan.units.items() if route.component in names), "")
        for hold in self._holds:
            if (hold.origin, hold.path, hold.title) == (flow.origin, delivery.envelope.path, route.title):
                return hold.why, hold.since
        if (away := self.host.site.away.get(f"unit `{unit}`")) is not None:
            return f"unit `{unit}` is away: {away}", 0
        for hold in self._holds:
            if not hold.title and hold.unit in ("", unit):
                return hold.why, hold.since
        try:
            async with asyncio.timeout(0.05):
                await self.host.site.level(route.need, flow.origin)
        except TimeoutError:
            views = ", ".join(name for name, events, _ in self.host.site.behind() if events)
            return (
                f"the views that it may read have yet to see older events: {views or 'their unit is away'}",
                0,
            )
        return "nothing: it runs", 0

    async def _finished(self, origin: int, path: str, title: str) -> tuple[Wait, tuple[int, str, str] | None]:
        """Return what is there of what is over: perhaps a dead letter."""
        for letter in (await self.host.site.letters(Search(name=f"{origin}{path}"))).letters:
            if title in ("", letter.title):
                return await self._parked(letter)
        return Wait(f"{origin}{path}", title, "nothing: it is finished"), None

    async def _parked(self, letter: DeadLetter) -> tuple[Wait, tuple[int, str, str] | None]:
        component, key = letter.title.partition(".")[0], letter.envelope.key
        found = await self.host.site.letters(Search(component, key))
        head = found.letters[0] if found.letters else letter
        if head.number == letter.number:
            text = f"it is a dead letter, which parks key {key!r} at {component}: {letter.reason}"
            return Wait(letter.name, letter.title, text, letter.first), None
        text = f"key {key!r} is parked at {component}, {letter.number - head.number} before it"
        return Wait(letter.name, letter.title, text, letter.first), (
            head.envelope.origin,
            head.envelope.path,
            head.title,
        )


def _place(turn: Turn) -> tuple[int, str, str]:
    return turn.flow.origin, turn.delivery.envelope.path, turn.delivery.route.title


def _older(delivery: Delivery, other: Delivery) -> str:
    """Return why a delivery waits for an older one."""
    name, route = other.envelope.name, other.route
    if route.component == delivery.route.component:
        same = f"with key {other.key!r} " if other.key and other.key == delivery.key else ""
        return f"it waits for {name}, which comes before it {same}at {route.title}"
    return f"it waits for {name} at {route.title}, which may still lead to what it takes or reads"
