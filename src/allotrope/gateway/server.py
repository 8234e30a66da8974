"""The server: uvicorn under a gate. Sockets, clients that say or read nothing, an orderly end.

uvicorn parses HTTP and runs the tasks. What it leaves open is closed here: a bound on headers and connections, and on
the time in which a client must send its headers and body and read its answer.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from allotrope.gateway.access.admission import LOOPBACK, check_reach
from allotrope.gateway.gate import Gate
from allotrope.kernel.errors import Refused
from allotrope.planning.topology import Gateway

log = logging.getLogger("allotrope.gateway")
HEADER_BYTES = 64 * 1024
TICK_S = 0.5
BACKLOG = 1024
PARTING_S = 1.0  # how long clients that hold a connection have to ask once more


class Connection(HttpToolsProtocol):
    """One client. Each count is of ticks: since it was heard, since it began to owe us something, since we hung up."""

    quiet = stuck = head = rest = over = size = 0
    owes = False  # a body that has begun
    most = 1 << 30
    parting = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for its first request, unless there are too many."""
        super().connection_made(transport)
        self.head = 1
        if len(self.connections) > self.most:
            self.refuse(503, "too many connections; come back later")

    def data_received(self, data: bytes) -> None:
        """Take what it sends; its headers have a limit."""
        self.quiet = 0
        if self.over:
            return
        self.size = self.size + len(data) if self.head else 0
        super().data_received(data)
        if self.head and self.size > HEADER_BYTES:
            self.refuse(431, f"headers here have at most {HEADER_BYTES} bytes")

    def on_message_begin(self) -> None:
        """Begin to count."""
        self.head = 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting; its body is owed."""
        self.head = self.rest = 0
        self.owes = True
        super().on_headers_complete()
        if self.parting.is_set() and getattr(self, "cycle", None) is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """It owes nothing."""
        self.owes = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Begin to wait for it to read."""
        self.stuck = 1
        super().pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self.stuck = 0
        super().resume_writing()

    def tick(self, most: int) -> None:
        """Count a tick; cut it off when it has owed us headers, a body or a reading for `most` of them."""
        cycle = getattr(self, "cycle", None)  # None before the first request, whatever its type says
        if self.over:
            self.over += 1
            if self.over > _LINGER:
                self.transport.abort()
        elif self.stuck:
            self.stuck += 1
            if self.stuck > most:
                self.transport.abort()  # to close would wait for what it does not read
        elif self.head and self.timeout_keep_alive_task is None:
            self.head += 1
            if self.head > most:
                self.refuse(408, "the headers did not come in time")
        elif self.owes and cycle is not None and cycle.response_complete:
            self.rest += 1  # what is left of a body that was refused: taken and dropped, but not for ever
            if self.rest > most:
                self.transport.abort()
        elif self.owes:
            self.quiet += 1
            if self.quiet > most:
                self.refuse(408, "the body did not come in time")

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with bytes that are no HTTP."""
        self.refuse(400, "this is no HTTP request")

    def refuse(self, status: int, text: str) -> None:
        """Answer with a problem and hang up; nothing when an answer has begun."""
        cycle = getattr(self, "cycle", None)
        if cycle is None or not cycle.response_started or cycle.response_complete:
            body = msgspec.json.encode({"type": "urn:allotrope:connection", "status": status, "detail": text})
            head = f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/problem+json\r\n"
            more = "retry-after: 1\r\n" if status == 503 else ""
            rest = f"content-length: {len(body)}\r\nconnection: close\r\n{more}\r\n"
            self.transport.write((head + rest).encode() + body)
        if cycle is not None:
            cycle.disconnected = True  # for the gate the client has gone
            cycle.message_event.set()
        if self.transport.can_write_eof():
            self.over = 1  # to close with something unread would take the answer back: TCP resets
            self.transport.write_eof()
        else:
            self.transport.close()


_LINGER = 4
_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class Server(uvicorn.Server):
    """A gate on a socket."""

    def __init__(self, gate: Gate, listener: socket.socket, grace_s: float = 10.0) -> None:
        """Serve `gate` on a socket that is bound already."""
        settings = gate.settings
        certificate, private = settings.certificate or (None, None)
        parting = asyncio.Event()
        kind = type("Connection", (Connection,), {"most": settings.connections, "parting": parting})
        config = uvicorn.Config(
            gate, http=kind, ws="none",
            lifespan="off", log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=max(1, int(grace_s)), backlog=BACKLOG, timeout_keep_alive=15,
            ssl_certfile=certificate, ssl_keyfile=private,
        )  # fmt: skip
        # It warns of each request that is no HTTP: whoever sends noise would fill our log.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        super().__init__(config)
        self.gate, self.listener = gate, listener
        self.up, self.parting = asyncio.Event(), parting
        self._parting: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the host: it has to be drained after this."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.up.set()

    async def run_until(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping` is set or the host has stopped itself; then finish what is in flight."""
        ticking = asyncio.create_task(self._ticking())
        told = asyncio.create_task(stopping.wait())
        told.add_done_callback(lambda _: self.end())
        try:
            await self.serve([self.listener])
        finally:
            ticking.cancel()
            told.cancel()
            if self._parting is not None:
                self._parting.cancel()

    def end(self) -> None:
        """Take no more clients; streams end now. Each client that asks once more is told to come back elsewhere."""
        if self._parting is None:
            self.gate.drain()
            self._parting = asyncio.get_running_loop().create_task(self._part())

    async def _part(self) -> None:
        """Let clients that hold a connection hear that it ends: to close it while they ask would fail them."""
        for listening in self.servers:
            listening.close()
        self.parting.set()
        ticks = PARTING_S / TICK_S * 10
        while self.server_state.connections and ticks > 0 and self.gate.link.ready:
            ticks -= 1
            await asyncio.sleep(TICK_S / 10)
        self.should_exit = True

    async def _ticking(self) -> None:
        most = max(1, round(self.gate.settings.idle_s / TICK_S))
        while True:
            await asyncio.sleep(TICK_S)
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.tick(most)
            if not self.gate.link.ready:
                self.end()
            try:
                self.gate.admission.refresh()
            except Refused as error:  # half written, perhaps: the keys that are known stay
                log.warning("keys are not read again: %s", error)


def bound(host: str, port: int, settings: Gateway, *, closed: bool) -> socket.socket:
    """Return a socket that listens. Refused beyond this machine without keys, or when the port is taken."""
    check_reach(host, closed=closed)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)  # only now is it known that nobody else does
    except OSError as error:
        listener.close()
        raise Refused(
            f"{host}:{port}: {error.strerror or error}; choose another --port, or 0 for a free one"
        ) from None
    if settings.certificate == () and host not in LOOPBACK:
        log.warning("%s is open to others without TLS; let a proxy end it, or set `certificate`", host)
    return listener
