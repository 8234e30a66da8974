"""The log in a stream of Redis: each record is an entry whose id is its position.

A function on the server stores a group as a whole, if its caller still holds the log and the log ends where it should.
What Redis keeps is what its append-only file keeps: without one, or with one that is synced now and then only, this log
refuses to promise more. Not here: a replica that takes over may lack entries, and then this log stops.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as Late

from allotrope.kernel.errors import Refused
from allotrope.kernel.tables import Durability
from allotrope.logs.server import Away
from allotrope.storage.ports import Fenced

ANSWER_S = 5.0
HELD_MS = 5000  # how long the log is held after the last sign of life
LARGEST = 33 << 20  # bytes of a record: more than any event may have
_PIECE = 4 << 20  # bytes of one call of the function
_LOST = (Disconnected, Late, BusyLoadingError, OSError, asyncio.TimeoutError)
_HOLD = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ''
"""
_STORE = """
local held = redis.call('GET', KEYS[2])
if held and held ~= ARGV[1] then return redis.error_reply('HELD ' .. held) end
local first = tonumber(ARGV[3])
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = 0
if newest[1] then last = tonumber(string.match(newest[1][1], '^%d+')) end
if last ~= first - 1 then return redis.error_reply('ENDS ' .. last) end
for n = 4, #ARGV do redis.call('XADD', KEYS[1], string.format('%.0f-0', first + n - 4), 'r', ARGV[n]) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 'OK'
"""
_FREE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class RedisServer:
    """One stream of Redis, and the right to be the one who writes it."""

    def __init__(self, url: str, place: str, name: str, durability: Durability) -> None:
        """Take the address; nothing is reached before `open`."""
        self.place, self.largest, self.durability = place, LARGEST, durability
        self._log, self._holder = f"allotrope:{{{name}}}:log", f"allotrope:{{{name}}}:holder"
        self._me = f"{socket.gethostname()} process {os.getpid()} {secrets.token_hex(8)}"
        self._redis: Any = Redis.from_url(
            url, socket_timeout=ANSWER_S, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)
        )  # that it is repeated is decided here, once it is known what was stored
        self._keeping: asyncio.Task[None] | None = None

    async def open(self) -> int:
        """Check what Redis keeps, let no other writer in, and return the last position."""
        try:
            await self._check()
            await self._hold()
            return await self.last()
        except AuthenticationError as error:
            raise Refused(f"{self.place}: {error}") from None
        except _LOST as error:
            raise _away(error) from error

    async def _check(self) -> None:
        """Refuse a server that keeps less than the durability says."""
        try:
            kept = {
                key: (await self._redis.config_get(key)).get(key)
                for key in ("appendonly", "appendfsync", "maxmemory-policy", "maxmemory")
            }
        except ResponseError as error:  # a service may forbid CONFIG
            raise Refused(f"{self.place}: does not tell what it keeps ({error}); allow CONFIG GET") from None
        wanted = {"appendonly": "yes"} | ({"appendfsync": "always"} if self.durability == "power" else {})
        if kept["maxmemory"] not in (None, "0") and kept["maxmemory-policy"] not in (None, "noeviction"):
            wanted["maxmemory-policy"] = "noeviction"
        if wrong := [
            f"{key} {kept[key]} instead of {value}" for key, value in wanted.items() if kept[key] != value
        ]:
            raise Refused(
                f"{self.place}: has {', '.join(wrong)}, which is less than durability `{self.durability}`; "
                f"set {', '.join(f'{key} {value}' for key, value in wanted.items())} there"
            )

    async def _hold(self) -> None:
        """Be the one who writes, from now on; of one that was killed the sign of life has to end first."""
        until = asyncio.get_running_loop().time() + HELD_MS / 1000 + 1
        while held := await self._redis.eval(_HOLD, 1, self._holder, self._me, HELD_MS):
            if asyncio.get_running_loop().time() > until or self._keeping is not None:
                who = held.decode().rpartition(" ")[0]
                kind = Refused if self._keeping is None else Fenced
                raise kind(
                    f"{self.place}: in use by {who}; stop that process, or give this one another `name` in [log]"
                )
            await asyncio.sleep(0.1)
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        """Give signs of life. Whether it is still held is seen when something is stored."""
        while True:
            await asyncio.sleep(HELD_MS / 4000)
            with contextlib.suppress(RedisError, OSError):
                await self._redis.eval(_HOLD, 1, self._holder, self._me, HELD_MS)

    async def store(self, first: int, records: Sequence[bytes]) -> None:
        """Store records, some megabytes at a time, each piece as a whole."""
        try:
            for piece in _pieces(records):
                await self._redis.eval(_STORE, 2, self._log, self._holder, self._me, HELD_MS, first, *piece)
                first += len(piece)
        except _LOST as error:
            raise _away(error) from error
        except ResponseError as error:
            said = str(error)
            if said.startswith("ENDS"):
                raise Away("the stream does not end where it should") from error
            if said.startswith("HELD"):
                raise Fenced(
                    f"{self.place}: another host has taken this log: {said[5:].rpartition(' ')[0]}"
                ) from None
            raise Refused(f"{self.place}: not stored: {said}", 5.0) from None

    async def fetch(self, position: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return entries from an id on."""
        try:
            found = await self._redis.xrange(self._log, min=f"{position}-0", count=limit)
        except _LOST as error:
            raise _away(error) from error
        return [(int(name.partition(b"-")[0]), fields[b"r"]) for name, fields in found]

    async def last(self) -> int:
        """Return the last id of the stream."""
        try:
            found = await self._redis.xrevrange(self._log, count=1)
        except _LOST as error:
            raise _away(error) from error
        return int(found[0][0].partition(b"-")[0]) if found else 0

    async def remove(self) -> None:
        """Delete the stream."""
        try:
            await self._redis.unlink(self._log)
        except _LOST as error:
            raise _away(error) from error

    async def close(self) -> None:
        """Let another writer in, and disconnect."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
            self._keeping = None
            with contextlib.suppress(RedisError, OSError):
                await self._redis.eval(_FREE, 1, self._holder, self._me)
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()


def _pieces(records: Sequence[bytes]) -> Iterator[list[bytes]]:
    piece: list[bytes] = []
    size = 0
    for record in records:
        if piece and (size + len(record) > _PIECE or len(piece) == 500):
            yield piece
            piece, size = [], 0
        piece.append(record)
        size += len(record)
    if piece:
        yield piece


def _away(error: BaseException) -> Away:
    return Away(str(error) or type(error).__name__)
