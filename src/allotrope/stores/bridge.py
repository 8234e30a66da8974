"""The bridge to PostgreSQL: a thread with a loop of its own, so that whoever must not wait asynchronously can ask.

One connection writes, another reads. Not here: what is asked.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import asyncpg

from allotrope.kernel.errors import Refused
from allotrope.storage.postgres import LOST

R = TypeVar("R")
ANSWER_S = 10.0


class Bridge:
    """Two connections to one schema, made when they are needed."""

    def __init__(self, url: str, place: str, path: str) -> None:
        """Start the thread; `path` is where names are looked up."""
        self.place = place
        self._url, self._path = url, path
        self._sessions: dict[str, asyncpg.Connection] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="allotrope-postgres", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, R]) -> R:
        """Return what `work` returns, done in the thread of the bridge.

        Raises what it raises; Refused for what only the operator can mend.
        """
        if not self._thread.is_alive():
            work.close()
            raise Refused(f"{self.place}: it is closed; open it again")
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError,
                asyncpg.InsufficientPrivilegeError, asyncpg.InsufficientResourcesError) as error:  # fmt: skip
            raise Refused(f"{self.place}: {error}", 5.0) from None

    async def writer(self) -> asyncpg.Connection:
        """Return the connection that writes."""
        return await self._session("writer")

    async def _session(self, name: str) -> asyncpg.Connection:
        session = self._sessions.get(name)
        if session is None or session.is_closed():
            settings = {
                "application_name": "allotrope",
                "synchronous_commit": "on",
                "search_path": self._path,
            }
            session = self._sessions[name] = await asyncpg.connect(
                self._url, timeout=ANSWER_S, command_timeout=ANSWER_S, server_settings=settings
            )
        return session

    def rows(self, sql: str, *given: Any) -> list[Any]:
        """Return committed rows. Refused while the server is away, once it was asked twice."""

        async def read() -> list[Any]:
            return list(await (await self._session("reader")).fetch(sql, *given))

        try:
            try:
                return self.call(read())
            except LOST:
                self.call(self._ended("reader"))
                return self.call(read())
        except LOST as error:
            raise Refused(
                f"{self.place}: not reached ({error}); start it, or correct its `url`", 1.0
            ) from error

    def renew(self, opened: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Make the connection that writes anew, and do with it what has to be done first."""
        self.call(self._ended("writer"))
        self.call(opened())

    async def pause(self, seconds: float) -> None:
        """Return after a while."""
        await asyncio.sleep(seconds)

    async def _ended(self, *names: str) -> None:
        for name in names:
            if (session := self._sessions.pop(name, None)) is not None:
                try:
                    await session.close(timeout=1)
                except (*LOST, asyncpg.PostgresError):
                    session.terminate()

    def close(self) -> None:
        """Disconnect and end the thread."""
        if self._thread.is_alive():
            self.call(self._ended("writer", "reader"))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
