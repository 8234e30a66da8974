"""The called side: listens, lets in who proves to be trusted, and runs what they call, within bounds.

It does not know what a method means: its handlers are functions of a `Call` (`peer`). What a handler raises goes back
as it is (`errors`). It restarts nothing.
"""

import asyncio
import logging
import socket
from collections.abc import Mapping

from allotrope.kernel.errors import Refused
from allotrope.transports.frames import security, sockets, wire
from allotrope.transports.frames.addresses import Tcp, Unix, parsed
from allotrope.transports.frames.connection import Connection
from allotrope.transports.frames.limits import Limits
from allotrope.transports.frames.peer import Answer, Call, Counters, Handler, Peer, Staff, Streamer
from allotrope.transports.frames.security import Certificates, Credentials

__all__ = ["Answer", "Call", "Counters", "Handler", "Server", "Streamer"]
COMPLAINTS = 10  # in the log, a second; `refused_links` counts them all
log = logging.getLogger("allotrope.frames")


class Server:
    """Listens at any number of addresses and runs the same handlers for all of them.

    An address may be added at any time; `drain` and `close` end all of them together, and for good.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        streams: Mapping[str, Streamer],
        credentials: Credentials,
        limits: Limits | None = None,
    ) -> None:
        """Answer calls of `handlers` and `streams`, by name; Refused when a name is in both."""
        self.limits, self.credentials = limits or Limits(), credentials
        self.staff = Staff(handlers, streams)
        self.counters = self.staff.counters
        self._peers: set[Peer] = set()
        self._doors: list[tuple[asyncio.Task[None], socket.socket, Unix | Tcp, int]] = []
        self._greetings: set[asyncio.Task[None]] = set()
        self._complained = (-1.0, 0)  # since when, and how often
        self._room = asyncio.Event()  # there may be one more connection
        self._room.set()

    @property
    def running(self) -> int:
        """Return how many calls and streams run."""
        return self.staff.running

    @property
    def links(self) -> int:
        """Return how many connections are open."""
        return len(self._peers)

    async def listen(self, address: str) -> str:
        """Return the address, its port filled in, once calls can come. Refused when it cannot be had."""
        place = parsed(address)
        security.fitting(place, self.credentials)
        door = await sockets.listening(place)
        inode = 0
        if isinstance(place, Unix):
            inode = sockets.inode(place)
        else:
            place = Tcp(place.host, door.getsockname()[1])
        self._doors.append((asyncio.create_task(self._admit(door, place)), door, place, inode))
        return str(place)

    async def drain(self, grace_s: float) -> int:
        """Let nobody in, finish what runs for at most `grace_s`, and close; return how many calls were cut."""
        self.staff.leaving = "the server is leaving"
        self._shut()
        for peer in self._peers:
            peer.connection.send(wire.frame(wire.GOAWAY, payload=self.staff.leaving.encode()))
        await self.staff.idle(grace_s)
        cut = self.running
        await self.close()
        return cut

    async def close(self) -> None:
        """Cut what runs, and end."""
        self.staff.leaving = self.staff.leaving or "the server is closing"
        self._shut()
        peers = list(self._peers)
        work = [task for peer in peers for task in peer.work()]
        for peer in peers:
            peer.cut(self.staff.leaving)
        ends = [peer.connection.closed for peer in peers]
        admitting = [task for task, *_ in self._doors]
        await asyncio.gather(*ends, *admitting, *self._greetings, return_exceptions=True)
        if work:  # a handler may take its time over its cancellation, but not ours
            await asyncio.wait(work, timeout=self.limits.close_s)
        for _, door, *_ in self._doors:
            door.close()
        self._doors.clear()

    def _shut(self) -> None:
        """Take the addresses away first, so that who comes now looks elsewhere at once."""
        for task, door, place, inode in self._doors:
            if isinstance(place, Unix) and door.fileno() >= 0:
                sockets.unlink(place, inode)
            task.cancel()
        for greeting in self._greetings:
            greeting.cancel()

    async def _admit(self, door: socket.socket, place: Unix | Tcp) -> None:
        """Take what knocks; each is greeted on the side, since a stranger may be slow."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                made, _ = await loop.sock_accept(door)
            except OSError as error:  # out of descriptors, or broken off before we came to it
                self._complain(f"{place}: cannot accept: {error}")
                await asyncio.sleep(0.1)
                continue
            try:
                await self._room.wait()
            except asyncio.CancelledError:
                made.close()
                raise
            greeting = loop.create_task(self._greet(made, place))
            self._greetings.add(greeting)
            self._count()
            greeting.add_done_callback(self._greeted)

    def _greeted(self, greeting: asyncio.Task[None]) -> None:
        self._greetings.discard(greeting)
        self._count()

    def _count(self) -> None:
        """Open or shut the way in. A stranger counts as a link: each may become one."""
        strangers = len(self._greetings)
        if strangers < self.limits.greetings and strangers + self.links < self.limits.links:
            self._room.set()
        else:
            self._room.clear()

    async def _greet(self, made: socket.socket, place: Unix | Tcp) -> None:
        """Let one connection in, or say in the log why not; it has told the other side itself."""
        try:
            made.setblocking(False)
            sockets.tune(made)
            async with asyncio.timeout(self.limits.greeting_s):
                peer = await self._opened(made)
        except (Refused, OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            made.close()
            self.counters.refused_links += 1
            why = str(error) or f"no greeting within {self.limits.greeting_s:g} s"
            self._complain(f"{place}: a connection was refused: {why}")
        except BaseException:
            made.close()
            raise
        else:
            self.counters.links += 1
            if self.staff.leaving:
                peer.cut(self.staff.leaving)

    def _complain(self, text: str) -> None:
        """Log it, but no more than ten lines a second: strangers must not fill a disk."""
        now = asyncio.get_running_loop().time()
        if now - self._complained[0] > 1.0:
            self._complained = (now, 0)
        self._complained = (self._complained[0], self._complained[1] + 1)
        if self._complained[1] <= COMPLAINTS:
            log.warning(text)

    async def _opened(self, made: socket.socket) -> Peer:
        """Return the client once it has proved who it is. Until then not one frame of it is read."""
        loop = asyncio.get_running_loop()
        if isinstance(self.credentials, Certificates):
            context = self.credentials.context(server=True)
            if self.credentials.stale:
                self._complain(f"certificates: still using the last good ones: {self.credentials.stale}")
            peer = Peer(self.staff, Connection(self.limits), "")
            await loop.connect_accepted_socket(lambda: peer.connection, made, ssl=context)
            peer.name = peer.connection.certificate()
        else:
            name, arena, window = await security.introduced(
                made, self.credentials, self.limits, security.meet
            )
            peer = Peer(self.staff, Connection(self.limits, arena, window), name)
            await loop.connect_accepted_socket(lambda: peer.connection, made)
        if not peer.connection.open:
            raise ConnectionError("it left while it was let in")
        peer.connection.greet(self.staff.names)
        peer.left = self._left
        self._peers.add(peer)
        return peer

    def _left(self, peer: Peer) -> None:
        self._peers.discard(peer)
        self._count()
