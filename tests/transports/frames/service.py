"""A server with one method of each sort; `python -m tests.transports.frames.service ADDRESS KEY` runs it apart."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

from allotrope import Failed
from allotrope.kernel.errors import Expired, Lost, Overloaded, Refused
from allotrope.transports.frames.client import Link, connect
from allotrope.transports.frames.errors import RemoteError, Unreachable
from allotrope.transports.frames.limits import Limits
from allotrope.transports.frames.security import Credentials, Key
from allotrope.transports.frames.server import Call, Server

RAISED: dict[str, Exception] = {
    "remote": RemoteError(b"\x00own"),
    "refused": Refused("no", 2.0),
    "overloaded": Overloaded("full", 0.5),
    "expired": Expired("late"),
    "unreachable": Unreachable("away"),
    "lost": Lost("who knows"),
    "path": Refused("no file \udcff"),
    "long": RemoteError(bytes(2000)),
    "failed": Failed("Shop", "echo", "KeyError: 'x'"),
}


class Service:
    """What the methods have seen."""

    def __init__(self) -> None:
        self.running = 0
        self.ended = asyncio.Event()  # a call or stream that waits was cut
        self.begun = asyncio.Event()
        self.yielded = 0
        self.calls: list[Call] = []

    async def echo(self, call: Call) -> tuple[bytes, Any]:
        self.calls.append(call)
        return call.payload, call.buffers

    async def size(self, call: Call) -> bytes:
        return str([buffer.nbytes for buffer in call.buffers]).encode()

    async def fail(self, call: Call) -> bytes:
        raise RAISED.get(call.payload.decode(), KeyError("x"))

    async def wait(self, call: Call) -> bytes:
        """Wait for ever."""
        self.running += 1
        self.begun.set()
        try:
            await asyncio.get_running_loop().create_future()
            raise AssertionError
        finally:
            self.running -= 1
            self.ended.set()

    async def nap(self, call: Call) -> bytes:
        """Wait until the test sets `ended`."""
        self.begun.set()
        await self.ended.wait()
        return b"rested"

    async def large(self, call: Call) -> bytes:
        self.yielded += 1
        return bytes(int(call.payload))

    async def count(self, call: Call) -> AsyncGenerator[bytes, None]:
        """Yield so many items of so many bytes, then fail when asked to."""
        many, size, *rest = call.payload.split()
        try:
            for number in range(int(many)):
                self.yielded += 1
                yield str(number).encode().ljust(int(size), b".")
            if rest:
                raise RemoteError(b"spent")
        finally:
            self.ended.set()

    async def arrays(self, call: Call) -> AsyncGenerator[tuple[bytes, Any], None]:
        for number in range(int(call.payload)):
            yield b"", [bytes([number]) * 100_000]


async def until(true: Callable[[], object]) -> None:
    """Return once the condition holds; the test's timeout is the limit."""
    while not true():  # noqa: ASYNC110  # what is waited for has no event to offer
        await asyncio.sleep(0.005)


def server(service: Service, credentials: Credentials, limits: Limits | None = None) -> Server:
    calls = ("echo", "size", "fail", "wait", "nap", "large")
    streams = ("count", "arrays")
    return Server(
        {name: getattr(service, name) for name in calls},
        {name: getattr(service, name) for name in streams},
        credentials,
        limits,
    )


@contextlib.asynccontextmanager
async def serving(
    folder: Path, limits: Limits | None = None, client: Limits | None = None
) -> AsyncIterator[tuple[Service, Server, Link]]:
    """Give a service, its server, and a link to it over a unix socket; nothing is left afterwards."""
    path = folder / "key"
    key = Key(path) if path.exists() else Key.create(path)
    service = Service()
    served = server(service, key, limits)
    address = await served.listen(f"unix:{folder}/socket")
    link = await connect(address, key, client or limits)
    try:
        yield service, served, link
    finally:
        await link.close()
        await served.close()


async def main(address: str, key: str) -> None:
    served = server(Service(), Key(key))
    print(await served.listen(address), flush=True)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
