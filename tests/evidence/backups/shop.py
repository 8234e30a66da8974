"""The shop of the command line's tests, fed with numbered inputs: what is left of any first part of them?"""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw

from allotrope import Fault, compose
from allotrope.kernel import codec
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from tests.cli.shop import Ordered, app

BEGIN = datetime(2026, 1, 1, 10, tzinfo=UTC)


def opened(folder: Path, options: Options | None = None) -> Host:
    return compose.build(app, "modular-monolith", folder, options or Options(ticks=False))


async def give(host: Host, number: int) -> None:
    """Give input `number`: mostly orders of nine customers, one in fifty of which cannot be taken, and refunds."""
    at = BEGIN + timedelta(seconds=number)
    about = Input(request=f"r{number}", at=at)
    if number % 6 == 5:
        with contextlib.suppress(Fault):
            await host.tell("Till.refund", (f"o{number - 3}",), about)
        return
    amount = Decimal(13 if number % 50 == 49 else 1 + number % 7)
    await host.publish(Ordered(f"o{number}", f"c{number % 9}", amount, at), about)


async def feed(host: Host, first: int, last: int, at_once: int = 8) -> None:
    """Give inputs in order, several on their way at a time."""
    for start in range(first, last, at_once):
        await asyncio.gather(*(give(host, number) for number in range(start, min(start + at_once, last))))


async def finished(folder: Path, first: int = 0, last: int = 0, origins: list[int] | None = None) -> None:
    """Start an app, give it inputs, let it finish all that it has, and stop it."""
    host = opened(folder)
    await host.start()
    for number in origins if origins is not None else range(first, last):
        await give(host, number)
    await host.drain()


def left(folder: Path) -> dict[str, list[Any]]:
    """Return what an app has made of its inputs: events, rows, answers."""
    log = apsw.Connection(str(folder / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    ledger = apsw.Connection(str(folder / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        events = log.execute("SELECT origin,path,kind,key,body,request FROM entries WHERE origin>0")
        rows = ledger.execute("""SELECT "table",key,row FROM rows WHERE "table" NOT LIKE '/%'""")
        letters = ledger.execute("""SELECT "table",key FROM rows WHERE "table" LIKE '/letters/%'""")
        answers = ledger.execute("SELECT request,answer FROM outcome")
        return {
            "events": sorted(events), "rows": sorted(rows), "letters": sorted(letters), "answers": sorted(answers)
        }  # fmt: skip
    finally:
        log.close()
        ledger.close()


def numbers(folder: Path) -> list[int]:
    """Return the numbers of the inputs in a log, in the order of their origins."""
    log = apsw.Connection(str(folder / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found = log.execute("SELECT request FROM entries WHERE path='' ORDER BY origin").fetchall()
        return [int(str(request)[1:]) for (request,) in found]
    finally:
        log.close()


def decoded(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the same in a form that a person can compare."""
    return {
        name: [tuple(codec.decode(part) if isinstance(part, bytes) else part for part in row) for row in rows]
        for name, rows in found.items()
    }
