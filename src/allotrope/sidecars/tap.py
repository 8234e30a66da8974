"""The tap: tells the ring of each call that a replica answers. It never waits, and never changes an answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import perf_counter, time_ns

import msgspec

from allotrope.runtime.sites.wire import Letter, Method, Served, Stream
from allotrope.sidecars.entries import ASK, DELIVER, MOST, Call, entry
from allotrope.sidecars.ring import Ring


class Tap:
    """Stands before what a replica answers to."""

    def __init__(self, ring: Ring, most: int = MOST) -> None:
        """Tell `ring`; arguments go with letters of at most `most` bytes."""
        self.ring, self.most = ring, most

    def over(self, served: Served) -> Served:
        """Return the same, watched: queries, streams and deliveries."""
        ways: dict[str, int] = {"ask": ASK, "deliver": DELIVER}
        methods = {
            name: self._method(method, ways[name]) if name in ways else method
            for name, method in served.methods.items()
        }
        streams = {name: self._stream(stream) for name, stream in served.streams.items()}
        return msgspec.structs.replace(served, methods=methods, streams=streams)

    def _method(self, method: Method, way: int) -> Method:
        tell = self._tell

        async def answer(letter: Letter, left_s: float | None) -> Letter:
            begun, reply = perf_counter(), Letter(b"")
            try:
                reply = await method(letter, left_s)
                return reply
            finally:
                tell(way, begun, letter, reply.body, len(reply.body) if not reply.arrays else _size(reply))

        return answer

    def _stream(self, stream: Stream) -> Stream:
        async def answer(letter: Letter, left_s: float | None) -> AsyncGenerator[Letter, None]:
            begun, size, last = perf_counter(), 0, b""
            try:
                async with aclosing(stream(letter, left_s)) as pieces:
                    async for piece in pieces:
                        size, last = size + _size(piece), piece.body
                        yield piece
                last = last or b"\x00"  # it ended without a piece
            finally:
                self._tell(ASK, begun, letter, last, size)

        return answer

    def _tell(self, way: int, begun: float, letter: Letter, reply: bytes, answered: int) -> None:
        took = int((perf_counter() - begun) * 1e6)
        asked = len(letter.body) if not letter.arrays else _size(letter)
        try:
            call = Call(way, time_ns() // 1000 - took, took, letter.body, reply, asked, answered)
            self.ring.put(entry(call, self.most))
        except Exception:  # whatever is wrong with an entry, the call that it tells of is answered
            self.ring.drop()


def _size(letter: Letter) -> int:
    return len(letter.body) + sum(memoryview(array).nbytes for array in letter.arrays)
