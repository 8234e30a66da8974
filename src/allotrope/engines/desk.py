"""The desk of a host: what an operator asks of the events of a running app, at a socket in its folder.

Of one process and of a fleet alike, since it belongs to whoever gives the order. Not here: the processes of a fleet
(`processes.control`), and what a command line makes of the answers.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from allotrope.engines.waits import Waits
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused, nearest
from allotrope.runtime.doors.redrive import DELIVER, DISCARD, has_handlers, redrive_of
from allotrope.runtime.effects.letters import Found, ParkedKey, Search
from allotrope.runtime.host import Host
from allotrope.runtime.intake.inputs import Receipt
from allotrope.runtime.intake.lag import lags
from allotrope.runtime.options import Input
from allotrope.storage.folders import own
from allotrope.storage.ports import Entry
from allotrope.transports.frames.security import Key
from allotrope.transports.frames.server import Call, Server

log = logging.getLogger("allotrope")
HOST, KEY = "host", "key"  # in the folder of sockets: of the desk, and for all of them
AT_ONCE = 16  # keys
PAGE = 200  # entries of the log that are read, and delivered again, at once
ROUNDS = 10_000  # of one key: what is delivered may lead to more that waits behind it


class Wish(msgspec.Struct, frozen=True, array_like=True):
    """Which keys are to be redriven, or which letters discarded."""

    search: Search
    discard: bool = False


class Redriven(msgspec.Struct, frozen=True, array_like=True):
    """What came of it for one key: letters that are gone, those that are left, and why."""

    component: str
    key: str
    gone: int
    left: int = 0
    reason: str = ""


class Past(msgspec.Struct, frozen=True, array_like=True):
    """Which events of the log one component is to get again; nothing is done before it is said `really`."""

    component: str
    position: int = 0
    since: int = 0  # microseconds since 1970 at which their inputs were accepted
    until: int = -1  # position of the first that is not meant; -1 is the end of the log as it is now
    key: str | None = None
    really: bool = False
    run: str = ""  # a name: what was delivered under it is not delivered again


class Replayed(msgspec.Struct, frozen=True, array_like=True):
    """What was found, by handler, up to which position, and how many came in as new inputs."""

    found: dict[str, int]
    until: int
    delivered: int = 0


class Desk:
    """Answers for one host."""

    def __init__(self, host: Host) -> None:
        """Ask nothing of it yet."""
        self.host = host

    def known(self, component: str) -> None:
        """Raise Refused when the app has no such component, or one without handlers."""
        components = self.host.plan.app.components
        takers = [name for name, each in components.items() if has_handlers(each)]
        if component and component not in takers:
            app = self.host.plan.app.name
            raise Refused(
                f"app {app} has no component `{component}` that takes events. {nearest(component, takers)}"
            )

    async def letters(self, search: Search) -> Found:
        """Return the parked keys and dead letters that somebody looks for."""
        self.known(search.component)
        return await self.host.site.letters(search)

    async def redrive(self, wish: Wish) -> tuple[Redriven, ...]:
        """Deliver the letters of some keys again, each key in its order, or discard letters; return what came of it."""
        found, places = await self.letters(wish.search), asyncio.Semaphore(AT_ONCE)

        async def one(work: Any) -> Redriven:
            async with places:
                done: Redriven = await work
                return done

        work: Iterable[Any] = (self._key(parked) for parked in found.keys)
        if wish.discard and wish.search.fine:
            if found.count > len(found.letters):
                raise Refused(
                    f"{found.count:,} letters are meant, and {len(found.letters):,} at once are the most; name fewer"
                )
            homes = {(p.component, p.key): p for p in found.keys}
            each = ((homes[x.title.partition(".")[0], x.envelope.key], x.number) for x in found.letters)
            work = (self._discard(parked, number) for parked, number in each)
        elif wish.discard:
            work = (self._discard(parked) for parked in found.keys)
        return tuple(await asyncio.gather(*map(one, work)))

    async def _told(self, parked: ParkedKey, *more: Any) -> int:
        """Return what the command of a component answers, once all is done that it leads to."""
        receipt = await self.host.inputs.command(
            redrive_of(parked.component).title, (parked.key, *more), Input()
        )
        await self.host.inputs.replied(receipt)
        answer: int = await self.host.inputs.answer(receipt)
        await self.host.settled(receipt.origin)
        return answer

    async def _discard(self, parked: ParkedKey, number: int = -1) -> Redriven:
        gone = await self._told(parked, DISCARD, number)
        left = await self._left(parked)
        return Redriven(parked.component, parked.key, gone, 0 if left is None else left.count)

    async def _left(self, parked: ParkedKey) -> ParkedKey | None:
        left = await self.host.site.letters(Search(parked.component, parked.key, limit=1))
        return left.keys[0] if left.keys else None

    async def _key(self, parked: ParkedKey) -> Redriven:
        component, key, known, gone = parked.component, parked.key, parked, 0
        for _ in range(ROUNDS):
            count = await self._told(parked, DELIVER)
            now = await self._left(parked)
            if now is None:
                return Redriven(component, key, gone + count)
            gone += known.count + now.next - known.next - now.count
            if now.kind != "Parked":
                first = (await self.host.site.letters(Search(component, key, limit=1))).letters
                reason = first[0].reason if first else ""
                return Redriven(component, key, gone, now.count, reason)
            known = now
        return Redriven(component, key, gone, known.count, "each event led to another one of its key")

    async def replay(self, past: Past) -> Replayed:
        """Give a component events of the log again, in its order, each as an input of its own; or count them."""
        self.known(past.component)
        component = self.host.plan.app.components[past.component]
        titles: dict[str, list[str]] = {}
        for operation in component.operations:
            for source in operation.sources if operation.kind == "on" else ():
                titles.setdefault(source.__name__, []).append(operation.title)
        position, found, done = past.position, Counter[str](), 0
        while entries := await self.host.log.read(position, PAGE):
            receipts = []
            for entry in entries:
                if 0 <= past.until <= entry.position:
                    break
                position, envelope = entry.position + 1, entry.envelope
                meant = envelope.at >= past.since and past.key in (None, envelope.key)
                for title in titles.get(envelope.kind, ()) if meant else ():
                    found[title] += 1
                    if past.really:
                        receipts.append(await self._past(past, entry, title))
            for receipt in receipts:
                await self.host.settled(receipt.origin)
            done += len(receipts)
            if len(entries) < PAGE or 0 <= past.until <= entries[-1].position:
                break
        return Replayed(dict(found), position, done)

    async def _past(self, past: Past, entry: Entry, title: str) -> Receipt:
        """Return the input by which a handler gets an event of the log again."""
        given = Input(request=f"replay/{past.run}/{entry.position}/{title}")
        more = DELIVER, -1, ((title, codec.encode(entry.envelope)),)
        return await self.host.inputs.command(
            redrive_of(past.component).title, (entry.envelope.key, *more), given
        )

    def handlers(self) -> dict[str, Callable[[Call], Any]]:
        """Return what is answered at the socket."""

        async def letters(call: Call) -> bytes:
            return codec.encode(await self.letters(codec.decode(call.payload, Search)))

        async def redrive(call: Call) -> bytes:
            return codec.encode(await self.redrive(codec.decode(call.payload, Wish)))

        async def replay(call: Call) -> bytes:
            return codec.encode(await self.replay(codec.decode(call.payload, Past)))

        async def lag(call: Call) -> bytes:
            now = time.time_ns() // 1000
            host = self.host
            found = lags(host.flights, host.turns, host.backlog, host.site)
            return codec.encode({name: (each.events, each.seconds(now)) for name, each in found.items()})

        async def why(call: Call) -> bytes:
            return codec.encode(await Waits(self.host).why(codec.decode(call.payload, str)))

        return {"letters": letters, "redrive": redrive, "replay": replay, "lag": lag, "why": why}


@contextlib.asynccontextmanager
async def opened(host: Host, folder: Path) -> AsyncIterator[Desk]:
    """Yield the desk of a host that has started, open in its folder; without a socket where that cannot be had."""
    desk, server = Desk(host), None
    try:
        run, key = _place(folder)
        server = Server(desk.handlers(), {}, key)
        await server.listen(f"unix:{run / HOST}")
    except (Refused, OSError) as error:
        log.warning("`allotrope events` cannot ask this app: %s", error)
    try:
        yield desk
    finally:
        if server is not None:
            await server.close()


def _place(folder: Path) -> tuple[Path, Key]:
    """Return the folder of the socket, and the key that who asks has to have."""
    run = folder.absolute() / "run"
    own(run, always=True)
    return run, Key(run / KEY) if (run / KEY).exists() else Key.create(run / KEY)
