"""The log in a table of PostgreSQL: a row for each record, a group in one transaction.

One session holds an advisory lock and writes; a second connection reads. With `fsync` and `synchronous_commit` on, what
was acknowledged survives a power cut. Not here: the ledger (`stores/postgres.py`), which may be in the same database.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Sequence

import asyncpg

from allotrope.kernel.errors import Refused
from allotrope.kernel.tables import Durability
from allotrope.logs.server import Away
from allotrope.storage.postgres import LOST

ANSWER_S = 10.0
HELD_S = 2.0  # how long the session of a killed host may take to end
LARGEST = 33 << 20  # bytes of a record: more than any event may have
_MINE = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE application_name=$1 AND pid<>pg_backend_pid()"""  # a session that was cut, unseen so far
_HOLDER = """SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
  WHERE locktype='advisory' AND granted AND (classid::bigint<<32|objid::bigint)=$1"""


class PostgresServer:
    """One table of PostgreSQL, and the right to be the one who writes it."""

    def __init__(self, url: str, place: str, name: str, durability: Durability) -> None:
        """Take the address; nothing is reached before `open`."""
        self.place, self.largest, self.durability = place, LARGEST, durability
        self._url, self._schema, self._table = url, f'"allotrope_{name}"', f'"allotrope_{name}".log'
        self._me = f"{secrets.token_hex(4)} {socket.gethostname()[:30]} process {os.getpid()}"
        self._writer: asyncpg.Connection | None = None
        self._reader: asyncpg.Connection | None = None
        self._reading = asyncio.Lock()

    async def open(self) -> int:
        """Make the table, let no other writer in, check what the server keeps, and return the last position."""
        try:
            if self._writer is None or self._writer.is_closed():
                await self.close()
                self._writer = await self._connected()
                await self._writer.fetch(_MINE, self._me)
                await self._hold(self._writer)
                self._reader = await self._connected()
            return await self._last(self._writer)
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError,
                asyncpg.InsufficientPrivilegeError) as error:  # fmt: skip
            raise Refused(f"{self.place}: {error}") from None
        except LOST as error:
            await self.close()
            raise _away(error) from error

    async def _connected(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._url, timeout=ANSWER_S, command_timeout=ANSWER_S,
            server_settings={"application_name": self._me, "synchronous_commit": "on"},
        )  # fmt: skip

    async def _hold(self, session: asyncpg.Connection) -> None:
        if self.durability == "power" and (kept := await session.fetchval("SHOW fsync")) != "on":
            raise Refused(
                f"{self.place}: has fsync {kept}: a power cut would take what was acknowledged; set it on"
            )
        key = await session.fetchval("SELECT hashtextextended($1,0)", self._table)
        until = asyncio.get_running_loop().time() + HELD_S
        while not await session.fetchval("SELECT pg_try_advisory_lock($1)", key):
            if asyncio.get_running_loop().time() > until:
                _, _, who = str(await session.fetchval(_HOLDER, key) or "").partition(" ")
                await self.close()
                raise Refused(
                    f"{self.place}: in use by {who or 'another host'}; stop that process, or give this one another "
                    "`name` in [log]"
                )
            await asyncio.sleep(0.05)
        await session.execute(
            f"CREATE SCHEMA IF NOT EXISTS {self._schema};"
            f"CREATE TABLE IF NOT EXISTS {self._table}(position bigint PRIMARY KEY, record bytea NOT NULL);"
            f"ALTER TABLE {self._table} ALTER record SET STORAGE EXTERNAL"
        )

    async def store(self, first: int, records: Sequence[bytes]) -> None:
        """Copy a group into the table, in one transaction, if the table ends before it."""
        try:
            session = _there(self._writer)
            async with session.transaction():
                if await self._last(session) != first - 1:
                    raise Away("the table does not end where it should")
                await session.copy_records_to_table(
                    "log", records=list(enumerate(records, first)), schema_name=self._schema.strip('"')
                )
        except LOST as error:
            await self.close()  # the session is not to be trusted: it may be late rather than gone
            raise _away(error) from error
        except asyncpg.UniqueViolationError as error:
            raise Away("the table does not end where it should") from error
        except asyncpg.PostgresError as error:
            raise Refused(f"{self.place}: not stored: {error}", 5.0) from None

    async def fetch(self, position: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return rows from a position on."""
        try:
            async with self._reading:
                rows = await _there(self._reader).fetch(
                    f"SELECT position,record FROM {self._table} WHERE position>=$1 ORDER BY position LIMIT $2",
                    position, limit,
                )  # fmt: skip
        except LOST as error:
            await self.close()
            raise _away(error) from error
        return [(row[0], row[1]) for row in rows]

    async def last(self) -> int:
        """Return the last position of the table."""
        try:
            return await self._last(_there(self._writer))
        except LOST as error:
            raise _away(error) from error

    async def _last(self, session: asyncpg.Connection) -> int:
        last: int = await session.fetchval(f"SELECT coalesce(max(position),0) FROM {self._table}")
        return last

    async def remove(self) -> None:
        """Drop the table."""
        try:
            await _there(self._writer).execute(f"DROP TABLE {self._table}")
        except LOST as error:
            raise _away(error) from error

    async def close(self) -> None:
        """Disconnect; the lock ends with its session."""
        sessions, self._writer, self._reader = (self._writer, self._reader), None, None
        for session in sessions:
            if session is not None:
                try:
                    await session.close(timeout=1)
                except (*LOST, asyncpg.PostgresError):
                    session.terminate()


def _there(session: asyncpg.Connection | None) -> asyncpg.Connection:
    if session is None or session.is_closed():
        raise Away("no connection")
    return session


def _away(error: BaseException) -> Away:
    return Away(str(error) or type(error).__name__)
