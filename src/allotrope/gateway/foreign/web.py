"""The envoy over HTTP: JSON to the paths that our own gateway has, by aiohttp.

POST /Component/operation with the arguments as one JSON object; an answer is JSON, or server-sent events for what
answers in pieces. Not here: what an error means (`ends`).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from allotrope.gateway.foreign.ends import error_of, retry_after, told
from allotrope.gateway.foreign.envoy import CONNECT_S, LARGEST, Post, calling, named, patience
from allotrope.gateway.values import reader, to_json
from allotrope.kernel.errors import Failed, Lost, Overloaded
from allotrope.kernel.operations import Operation

_LINKS = 100  # at once


class WebEnvoy:
    """Asks over HTTP."""

    def __init__(self, post: Post) -> None:
        """Connect with the first call."""
        self.post = post
        self._session: aiohttp.ClientSession | None = None

    def body(self, operation: Operation) -> Callable[..., Any]:
        """Return what stands for the body of an operation."""
        read = reader(operation.result())

        async def asked(*arguments: Any) -> Any:
            async with self._sent(operation, arguments) as response:
                data = await _whole(response, operation)
            return _value(operation, read, data or b"null")

        async def streamed(*arguments: Any) -> AsyncGenerator[Any, None]:
            async with self._sent(operation, arguments) as response:
                async for event, data in _events(response, operation):
                    if event == "end":
                        return
                    if event == "problem":
                        raise error_of(operation, 500, told(data))
                    yield _value(operation, read, data)
            raise Lost(f"{operation.title}, elsewhere: the stream broke off")

        return streamed if operation.streams else asked

    @asynccontextmanager
    async def _sent(
        self, operation: Operation, arguments: tuple[Any, ...]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a good answer while it comes in; raise what any other means."""
        call, title = calling(), operation.title
        left = aiohttp.ClientTimeout(
            total=None if operation.streams else patience(call), sock_connect=CONNECT_S
        )
        url = f"{self.post.address.rstrip('/')}/{operation.component}/{operation.name}"
        headers = {"content-type": "application/json", **self.post.headers(operation, call)}
        data = to_json(named(operation, arguments))
        try:
            async with self._open().post(
                url, data=data, headers=headers, timeout=left, allow_redirects=False
            ) as response:
                if response.status >= 300:
                    found = told(await _whole(response, operation))
                    raise error_of(operation, response.status, found, retry_after(response.headers))
                yield response
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Overloaded(f"{title}: nobody answers at {self.post.address}: {error}", 0.5) from None
        except TimeoutError:
            raise Lost(f"{title}: no answer from {self.post.address} in time; it may have run") from None
        except aiohttp.ClientError as error:
            raise Lost(f"{title}: the link to {self.post.address} broke: {error}") from None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=_LINKS)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        """Let go of all connections."""
        if self._session is not None:
            await self._session.close()


def _value(operation: Operation, read: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return read(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failed(operation.component, operation.name, f"its answer does not fit: {error}") from None


async def _whole(response: aiohttp.ClientResponse, operation: Operation) -> bytes:
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            raise Failed(operation.component, operation.name, f"its answer is over {LARGEST >> 20} MiB")
    return b"".join(parts)


async def _events(
    response: aiohttp.ClientResponse, operation: Operation
) -> AsyncGenerator[tuple[str, bytes], None]:
    """Yield the kind and the data of server-sent events. Source: HTML Living Standard, 9.2.6."""
    event, data, size = "message", list[bytes](), 0
    buffer = b""
    async for part in response.content.iter_any():
        buffer += part
        *lines, buffer = buffer.replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            field, _, value = line.partition(b":")
            if field == b"event":
                event = value.strip().decode("utf-8", "replace")
            elif field == b"data":
                data.append(value.removeprefix(b" "))
                size += len(value)
            elif not line and data:
                yield event, b"\n".join(data)
                event, data, size = "message", [], 0
        if size + len(buffer) > LARGEST:
            raise Failed(operation.component, operation.name, f"a piece is over {LARGEST >> 20} MiB")
