"""Networks that fail on purpose: a way to a server on which messages are lost, held up and repeated.

    async with Passage(8000, seed=7, whole=http_request) as way:
        way.lost, way.doubled, way.delay_s = 0.1, 0.1, 0.02
        ...  # send to way.port what was meant for port 8000

TCP delivers or breaks: so with a message that is lost goes its connection, and who sent it cannot know whether it
arrived. One that is doubled arrives on a connection of its own, at any time, and nobody hears its answer. Not here:
what a client does about it; and networks between the units of one machine, which are sockets of its file system.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from random import Random


def http_request(buffer: bytes) -> int:
    """Return the length of the first whole HTTP/1.1 request, 0 where more is to come; its body has a length."""
    head, ends, _ = buffer.partition(b"\r\n\r\n")
    if not ends:
        return 0
    lines = (line.partition(b":") for line in head.lower().split(b"\r\n")[1:])
    body = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
    size = len(head) + len(ends) + body
    return size if len(buffer) >= size else 0


class Passage:
    """A way to a port of this machine. All that it does may be changed while it is in use.

    `lost` and `doubled` are shares of messages, `delay_s` is the longest that one is held up. `happened` counts.
    """

    def __init__(self, there: int, seed: int = 0, whole: Callable[[bytes], int] = len) -> None:
        """Lead to a port. `whole` returns how long the first request is; by default it is whatever comes at once."""
        self.there, self.port = there, 0
        self.lost = self.doubled = self.delay_s = 0.0
        self.swallowed = False  # whether answers are lost, and nothing else, while connections stay
        self.happened: Counter[str] = Counter()
        self._random, self._whole, self._open = Random(seed), whole, True
        self._ends: set[asyncio.StreamWriter] = set()
        self._again: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Passage":
        """Listen on a port of its own."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut what is left."""
        self.cut()
        assert self._server is not None
        self._server.close()
        for task in self._again:
            task.cancel()
        await asyncio.gather(*self._again, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Cut all connections; none is made until `mend`."""
        self._open = False
        for end in list(self._ends):
            end.close()

    def mend(self) -> None:
        """Let everything through again."""
        self._open, self.swallowed = True, False
        self.lost = self.doubled = self.delay_s = 0.0

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        self._ends.add(writer)
        try:
            if self._open:
                there, back = await asyncio.open_connection("127.0.0.1", self.there)
                ends.add(back)
                self._ends.add(back)
                await asyncio.gather(self._requests(reader, back, writer), self._answers(there, writer, back))
        except OSError:
            pass  # there is nobody, or an end was cut
        finally:
            for end in ends:
                end.close()
            self._ends -= ends

    async def _requests(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, other: asyncio.StreamWriter
    ) -> None:
        buffer = b""
        while data := await source.read(65536):
            buffer += data
            while buffer and (size := self._whole(buffer)):
                message, buffer = buffer[:size], buffer[size:]
                if self._random.random() < self.doubled:
                    self.happened["doubled"] += 1
                    task = asyncio.create_task(self._doubled(message))
                    self._again.add(task)
                    task.add_done_callback(self._again.discard)
                if not await self._passed("request", message, sink):
                    other.close()
                    return
        sink.close()

    async def _answers(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, other: asyncio.StreamWriter
    ) -> None:
        while data := await source.read(65536):
            if not self.swallowed and not await self._passed("answer", data, sink):
                other.close()
                return
        sink.close()

    async def _passed(self, what: str, message: bytes, sink: asyncio.StreamWriter) -> bool:
        """Return whether a message has got through; else its connection is to end."""
        if self.delay_s:
            self.happened["delayed"] += 1
            await asyncio.sleep(self._random.uniform(0, self.delay_s))
        if self._random.random() < self.lost:
            self.happened[f"{what} lost"] += 1
            sink.close()
            return False
        sink.write(message)
        await sink.drain()
        return True

    async def _doubled(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            await asyncio.sleep(self._random.uniform(0, self.delay_s))
            reader, writer = await asyncio.open_connection("127.0.0.1", self.there)
            writer.write(message)
            await reader.read(65536)
            writer.close()
