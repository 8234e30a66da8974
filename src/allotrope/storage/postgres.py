"""What the log and the ledger in PostgreSQL share: which errors mean that nobody knows what the server has done."""

import asyncio

import asyncpg

LOST = (
    OSError, asyncio.TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.CannotConnectNowError,
    asyncpg.CrashShutdownError,
)  # fmt: skip
