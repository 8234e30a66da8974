"""Lines: what is waited for counts, and a replica that goes before it was asked anything has lost nothing."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from time import monotonic

from allotrope.engines.processes.lines import Directory, Lines, Replica, server
from allotrope.runtime.sites.wire import Address, Letter, Served
from allotrope.transports.frames.security import Key

DESK = Address("desk")


async def _left(letter: Letter, left: float | None) -> Letter:
    return Letter(repr(left).encode())


async def _lefts(letter: Letter, left: float | None) -> AsyncGenerator[Letter, None]:
    yield Letter(repr(left).encode())


@contextlib.asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[tuple[Lines, Replica]]:
    """Lines that know nobody yet, and a replica that tells how much time it was left."""
    key, address = Key.create(folder / "key"), f"unix:{folder / 'desk'}"
    answering = server([Served({"left": _left}, {"lefts": _lefts})], key)
    await answering.listen(address)
    lines = Lines(key)
    try:
        yield lines, Replica("desk-1", "desk", address, ready=True)
    finally:
        lines.close()
        await answering.close()


async def test_a_stream_has_what_waiting_has_left_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as (lines, replica):
        begun = monotonic()
        pieces = lines.stream(DESK, "lefts", Letter(b""), 5.0)
        first = asyncio.ensure_future(anext(pieces))
        await lines.changed(0.3)  # nobody is there so long
        waited = monotonic() - begun
        lines.update(Directory(1, (replica,)))
        left = float((await first).body)
        assert 0 < left <= 5.0 - waited + 0.01
        await pieces.aclose()


async def test_a_replica_that_goes_while_it_is_called_up_has_run_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path) as (lines, replica):
        reached, gone = asyncio.Event(), asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reached.set()
            await gone.wait()
            writer.close()

        listening = await asyncio.start_unix_server(silent, tmp_path / "silent")
        lines.update(Directory(1, (Replica("desk-0", "desk", f"unix:{tmp_path / 'silent'}", ready=True),)))
        asked = asyncio.ensure_future(lines.call(DESK, "left", Letter(b""), 5.0))
        await reached.wait()
        lines.update(Directory(2, (replica,)))
        assert 0 < float((await asked).body) <= 5.0  # the other one was asked
        gone.set()
        listening.close()
