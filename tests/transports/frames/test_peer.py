"""One client's calls: bounded, counted out, and each told how it ended."""

import asyncio
from pathlib import Path

import pytest

from allotrope import Failed, Refused
from allotrope.kernel.errors import Overloaded
from allotrope.transports.frames import wire
from allotrope.transports.frames.client import connect
from allotrope.transports.frames.errors import Unreachable
from allotrope.transports.frames.limits import Limits
from allotrope.transports.frames.security import Key
from tests.transports.frames.service import serving, until


async def test_what_nobody_waits_for_is_passed_by(folder: Path) -> None:
    async with serving(folder) as (_, served, link):
        link._connection.send(wire.frame(wire.CANCEL, number=12345))
        link._connection.send(wire.frame(wire.CREDIT, ms=1, number=12345))
        assert (await link.call("echo", b"x"))[0] == b"x"
        assert served.counters.cancelled == 0


async def test_a_reader_that_is_only_slow_gets_everything(folder: Path) -> None:
    limits = Limits(write_bytes=64 << 10, arena_bytes=0)
    async with serving(folder, limits) as (_, _, link):
        found = await asyncio.gather(*(link.call("large", b"300000") for _ in range(50)))
        assert {len(payload) for payload, _ in found} == {300_000}


async def test_an_answer_that_cannot_be_sent_is_failed(folder: Path) -> None:
    async with serving(folder, client=Limits(frame_bytes=1000)) as (_, _, link):
        with pytest.raises(Failed, match=r"its answer cannot be sent: frame of 5,000 bytes.*takes 1,000"):
            await link.call("large", b"5000")


async def test_limits_in_all_and_of_bytes(folder: Path, key: Key) -> None:
    limits = Limits(calls_in_all=2, held_bytes=150_000)
    async with serving(folder, limits) as (service, served, link):
        other = await connect(f"unix:{folder}/socket", key)
        first = asyncio.create_task(other.call("nap", b"", [bytes(100_000)]))
        await service.begun.wait()
        with pytest.raises(Overloaded, match="hold 100,0"):
            await other.call("echo", b"", [bytes(100_000)])
        second = asyncio.create_task(link.call("nap", b""))
        await until(lambda: served.running == 2)
        with pytest.raises(Overloaded, match="2 calls run"):
            await link.call("echo", b"")
        service.ended.set()
        await asyncio.gather(first, second)
        await other.close()


async def test_a_call_that_crosses_the_goodbye_is_known_not_to_have_run(folder: Path) -> None:
    async with serving(folder) as (service, served, link):
        running = asyncio.create_task(link.call("nap", b""))
        await service.begun.wait()
        served.staff.leaving = "the server is leaving"  # the client has not heard yet
        with pytest.raises(Unreachable, match="nothing ran"):
            await link.call("echo", b"")
        service.ended.set()
        await running


async def test_an_error_that_cannot_be_sent_is_failed(folder: Path) -> None:
    async with serving(folder, client=Limits(frame_bytes=1000)) as (_, _, link):
        with pytest.raises(Failed, match="too long to be sent"):
            await link.call("fail", b"long", timeout_s=5.0)
        with pytest.raises(Refused, match=r"no file \?"):
            await link.call("fail", b"path", timeout_s=5.0)
