"""The ledger in a schema of PostgreSQL: what one operation does is one call of a function there, in a transaction.

The port reads without waiting, so a thread of its own speaks to the server, and a reading holds its caller up for a
round trip. Commits go in groups. Not here: the log, which may be in the same database (`logs/postgres.py`).
"""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

from allotrope.kernel.codec import decode, encode
from allotrope.kernel.errors import Refused
from allotrope.kernel.tables import Durability
from allotrope.storage.groups import Group, Work
from allotrope.storage.points import reach
from allotrope.storage.ports import Commit, Envelope, Fenced, Overtaken
from allotrope.storage.postgres import LOST
from allotrope.stores.bridge import Bridge
from allotrope.stores.schema import TAKE, schema_of

DAY = 86_400_000_000  # microseconds
HELD_S = 5.0  # how long the session of a killed process may take to end
AWAY_S = 30.0  # how long the server may be away before a commit is given up
_PRUNE_EVERY = 1000  # outcomes, and records
_CHANGES = 100_000  # commits for which it is known which rows they changed
_KNOWN, _NEW, _FENCED, _OVERTAKEN = range(4)  # what the function answers


class Schema(NamedTuple):
    """Where a ledger is: the address of its server, how messages name it, and its name there."""

    url: str
    place: str
    name: str


class PostgresLedger:
    """A durable ledger on a server; it keeps the newest `keep` decision records, or a few more."""

    def __init__(
        self,
        where: Schema,
        durability: Durability = "process",
        *,
        owner: str = "",
        keep: int = 200_000,
        shared: bool = False,
    ) -> None:
        """Connect, make the schema, and keep others out: all of them, or those that would not share it.

        Raises Refused when the server is not reached, keeps less than the durability, or another process has it.
        """
        url, place, schema = where
        self.durability: Durability = durability
        self.shared, self.place, self.stopped = shared, place, ""
        self._schema, self._owner, self._keep = f'"{schema}"', owner, keep
        self._take = TAKE.format(schema=self._schema)
        self._bridge = Bridge(url, place, f"{self._schema}, pg_catalog")
        try:
            self._bridge.call(self._opened())
            floor, newest = self._bridge.rows("SELECT floor,newest FROM marks")[0]
        except BaseException as error:
            self._bridge.close()
            if isinstance(error, LOST):
                raise Refused(f"{place}: not reached ({error}); start it, or correct its `url`") from None
            raise
        self._floor, self._newest = int(floor), int(newest)
        self._answers = self._recorded = 0
        self._group = Group(self._write, threaded=True)

    async def _opened(self) -> None:
        """Connect the session that writes, and let it hold the schema."""
        session = await self._bridge.writer()
        if self.durability == "power" and (kept := await session.fetchval("SHOW fsync")) != "on":
            raise Refused(
                f"{self.place}: has fsync {kept}: a power cut would take what was acknowledged; set it on"
            )
        key = await session.fetchval("SELECT hashtextextended($1,1)", self._schema)
        how, until = "_shared" if self.shared else "", time.monotonic() + HELD_S
        while not await session.fetchval(f"SELECT pg_try_advisory_lock{how}($1)", key):
            if time.monotonic() > until:
                raise Refused(f"{self.place}: in use by another process; stop it, or use another `name`")
            await self._bridge.pause(0.05)
        async with session.transaction():
            await session.execute("SELECT pg_advisory_xact_lock(hashtextextended('allotrope', 2))")
            if await session.fetchval("SELECT to_regclass('marks')") is not None:
                # As a commit does first: else this one would hold an index, and wait for a commit that waits for it.
                await session.execute("SELECT 1 FROM marks FOR UPDATE")
            await session.execute(schema_of(self._schema))
            found = await session.fetchval("SELECT owner FROM marks")
            if found and self._owner and found != self._owner:
                raise Refused(
                    f"{self.place}: the ledger there is of the app `{found}`; give `{self._owner}` another `name`"
                )
            await session.execute("UPDATE marks SET owner=$1", found or self._owner)

    # -- writing

    async def commit(self, effect: Commit) -> bool:
        """Store all or nothing; an effect in the inbox already, or of a finished origin, is passed over: False."""
        reach("commit.before")
        new = effect.origin >= self._floor and await self._group.add(self._committed, effect)
        reach("commit.after")
        return new

    async def claim(self, leases: Mapping[int, int]) -> None:
        """Hold partitions, each under an epoch, from now on. Fenced when a later epoch has one already."""
        await self._group.add(self._claimed, leases)

    async def relayed(self, numbers: Iterable[int]) -> None:
        """Forget outbox events that the log has stored."""
        reach("relayed.before")
        await self._group.add(self._forgotten, list(numbers))
        reach("relayed.after")

    def finish(self, floor: int) -> None:
        """Forget inbox names below `floor`; written with the next commit, since it is only a hint."""
        self._floor = max(self._floor, floor)

    def _write(self, jobs: list[tuple[Work, Any]]) -> list[Any]:
        """Do a group in one transaction. Where its end is not known it is done again: what is there is passed over."""
        if self.stopped:
            raise Refused(self.stopped)
        until = time.monotonic() + AWAY_S
        while True:
            try:
                return self._bridge.call(self._transacted(jobs))
            except LOST as error:
                if time.monotonic() > until:
                    self.stopped = (
                        f"{self.place}: away for {AWAY_S:g} s ({error}); start again once it is there"
                    )
                    raise Refused(self.stopped) from error
                time.sleep(0.1)
                with contextlib.suppress(*LOST):
                    self._bridge.renew(self._opened)

    async def _transacted(self, jobs: list[tuple[Work, Any]]) -> list[Any]:
        session = await self._bridge.writer()
        async with session.transaction():
            (marks,) = await session.fetch("SELECT floor,newest FROM marks FOR UPDATE")
            floor, newest = marks
            self._floor, self._newest = max(self._floor, floor), max(self._newest, newest)
            results = [await work((session, given)) for work, given in jobs]
            if self._floor > floor:
                await session.execute("UPDATE marks SET floor=$1", self._floor)
                await session.execute("DELETE FROM inbox WHERE origin<$1", self._floor)
            await self._pruned(session)
        return results

    async def _committed(self, job: tuple[asyncpg.Connection, Commit]) -> bool:
        session, effect = job
        writes = {
            (table.encode(), key.encode()): row for table, key, row in effect.writes
        }  # the last one holds
        partition, epoch = effect.lease or (-1, 0)
        reads = effect.reads if self.shared and effect.mark >= 0 else ()
        answer = await session.fetchval(
            self._take, effect.consumer.encode(), effect.origin, effect.path.encode(),
            [table for table, _ in writes], [key for _, key in writes], list(writes.values()),
            [encode(envelope) for envelope in effect.outbox], effect.request.encode(), effect.outcome, effect.at,
            effect.record, partition, epoch, [table.encode() for table, _ in reads],
            [None if key is None else key.encode() for _, key in reads], effect.mark, self.shared,
        )  # fmt: skip
        if answer == _FENCED:
            raise Fenced(f"{self.place}: partition {partition} is another's now; nothing was stored")
        if answer == _OVERTAKEN:
            raise Overtaken(f"another process has changed what {effect.consumer} has read")
        if answer == _NEW:
            self._answers += bool(effect.request)
            self._recorded += bool(effect.record)
            self._newest = max(self._newest, effect.at if effect.request else 0)
        return bool(answer == _NEW)

    async def _claimed(self, job: tuple[asyncpg.Connection, Mapping[int, int]]) -> None:
        session, leases = job
        for partition, epoch in leases.items():
            held = await session.fetchval(
                "INSERT INTO lease VALUES($1,$2) ON CONFLICT(partition) DO UPDATE SET epoch=excluded.epoch "
                "WHERE excluded.epoch>=lease.epoch RETURNING epoch", partition, epoch,
            )  # fmt: skip
            if held is None:
                raise Fenced(f"{self.place}: partition {partition} is held under a later epoch than {epoch}")

    async def _forgotten(self, job: tuple[asyncpg.Connection, list[int]]) -> None:
        session, numbers = job
        await session.execute("DELETE FROM outbox WHERE number=ANY($1::bigint[])", numbers)

    async def _pruned(self, session: asyncpg.Connection) -> None:
        if self._answers >= _PRUNE_EVERY:
            self._answers = 0
            await session.execute("DELETE FROM outcome WHERE at<=$1", self._newest - DAY)
        if self._recorded >= _PRUNE_EVERY:
            self._recorded = 0
            newest = "DELETE FROM record WHERE number<=(SELECT max(number) FROM record)-$1"
            await session.execute(newest, self._keep)
            await session.execute(
                "DELETE FROM changed WHERE number<=(SELECT changes FROM marks)-$1", _CHANGES
            )

    # -- reading

    def get(self, table: str, key: str) -> bytes | None:
        """Return a committed row."""
        found = self._bridge.rows(
            "SELECT row FROM rows WHERE tab=$1 AND key=$2", table.encode(), key.encode()
        )
        return found[0][0] if found else None

    def scan(self, table: str) -> Iterator[tuple[str, bytes]]:
        """Yield the committed rows of a table, as they are now, in the order of their keys."""
        found = self._bridge.rows("SELECT key,row FROM rows WHERE tab=$1 ORDER BY key", table.encode())
        yield from ((key.decode(), row) for key, row in found)

    def inbox(self) -> Iterator[tuple[str, int, str]]:
        """Yield (consumer, origin, path) of every effect of an unfinished origin, by origin and path."""
        names = "SELECT consumer,origin,path FROM inbox WHERE origin>=$1 ORDER BY origin,path,consumer"
        found = self._bridge.rows(names, self._floor)
        yield from ((consumer.decode(), origin, path.decode()) for consumer, origin, path in found)

    def floor(self) -> int:
        """Return the lowest origin that may be unfinished."""
        return self._floor

    def outbox(self, limit: int = 1000) -> Sequence[tuple[int, Envelope]]:
        """Return numbered events that were committed and not yet relayed, in order."""
        found = self._bridge.rows("SELECT number,envelope FROM outbox ORDER BY number LIMIT $1", limit)
        return [(number, decode(envelope, Envelope)) for number, envelope in found]

    def outcome(self, request: str) -> bytes | None:
        """Return the recorded answer of a request of the last 24 hours, counted back from the newest one."""
        newer = "SELECT answer FROM outcome WHERE request=$1 AND at>$2"
        found = self._bridge.rows(newer, request.encode(), self._newest - DAY)
        return found[0][0] if found else None

    def records(self, origin: int | None = None) -> Iterator[tuple[str, int, str, bytes]]:
        """Yield (consumer, origin, path, record) in the order of origin and path."""
        which, given = ("", ()) if origin is None else ("WHERE origin=$1", (origin,))
        select = f"SELECT consumer,origin,path,body FROM record {which} ORDER BY origin,path,consumer"
        for consumer, number, path, body in self._bridge.rows(select, *given):
            yield consumer.decode(), number, path.decode(), body

    def mark(self) -> int:
        """Return a number that grows with each commit of any process."""
        return int(self._bridge.rows("SELECT changes FROM marks")[0][0])

    def close(self) -> None:
        """Finish what is being written, and disconnect."""
        self._group.close()
        if not self.stopped:
            with contextlib.suppress(Refused, *LOST):  # the floor is a hint
                self._bridge.call(self._transacted([]))
        self.stopped = self.stopped or f"{self.place}: it is closed; open it again"
        self._bridge.close()


async def drop(url: str, schemas: Iterable[str]) -> None:
    """Delete schemas with all that is in them."""
    session = await asyncpg.connect(url, timeout=10)
    try:
        for schema in schemas:
            await session.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
    finally:
        await session.close()
