"""Live results: events as they come, from where a reader left off, of its own tenant, and of whom it asks for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from allotrope.gateway.access.keys import made
from allotrope.gateway.events.live import KEPT
from tests.gateway.bakery import GATES
from tests.gateway.doors import Door, opened, until
from tests.gateway.test_gate import problem
from tests.gateway.test_requests import EFFECT, LATER, Paid, bank

LAYOUTS = pytest.mark.parametrize("layout", [LATER, EFFECT, ""], ids=["accepted", "effect", "chain"])


class Reader:
    """A client of server-sent events: what it got, and the newest id."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines, self.last, self.silent = lines, "", 0

    async def next(self) -> Any:
        """Return the data of the next event; of one with a name, the name as well."""
        name = ""
        async with asyncio.timeout(20):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                self.last = value if field == "id" else self.last
                self.silent += line.startswith(":")
                name = value if field == "event" else name
                if field == "data":
                    return (name, msgspec.json.decode(value)) if name else msgspec.json.decode(value)
        raise AssertionError("it has ended")

    async def heard(self) -> None:
        """Return once it was told where it is."""
        async for line in self._lines:
            if line.startswith("id: "):
                self.last = line[4:]
                return


@contextlib.asynccontextmanager
async def reading(door: Door, path: str, **headers: str) -> AsyncIterator[Reader]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with door.client.stream("GET", path, headers=named) as answer:
        assert answer.status_code == 200, (await answer.aread(), answer.status_code)
        assert answer.headers["content-type"] == "text/event-stream"
        reader = Reader(answer.aiter_lines())
        await reader.heard()
        yield reader


async def pay(door: Door, card: str, amount: float, **headers: str) -> None:
    GATES.setdefault(card, asyncio.Event()).set()
    answer = await door.post("/events/Paid", {"card": card, "amount": amount}, **headers)
    assert answer.status_code == 202


@LAYOUTS
async def test_events_are_seen_as_they_come_and_from_where_one_left_off(tmp_path: Path, layout: str) -> None:
    async with opened(tmp_path, layout, what=bank) as door:
        await pay(door, "old", 1.0)
        await door.host.settled()
        async with reading(door, "/events/Noted") as all_of_them, reading(door, "/events/Noted?key=b") as one:
            for card in ("a", "b", "a"):
                await pay(door, card, 2.0)
            seen = [await all_of_them.next() for _ in range(3)]
            assert sorted(each["card"] for each in seen) == ["a", "a", "b"]
            assert [each["total"] for each in seen if each["card"] == "a"] == [2.0, 4.0]
            assert await one.next() == {"card": "b", "total": 2.0}
            last = one.last
        for _ in range(2):
            await pay(door, "b", 1.0)
        async with reading(door, "/events/Noted?key=b", Last_Event_ID=last) as again:
            assert [(await again.next())["total"] for _ in range(2)] == [3.0, 4.0]
        async with reading(door, "/events/Paid?key=b", Last_Event_ID=last) as inputs:
            assert (await inputs.next())["amount"] == 1.0
        await until(lambda: door.gate.live.readers == 0)


async def test_a_place_in_the_log_outlives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path, LATER, what=bank) as door:
        async with reading(door, "/events/Noted") as reader:
            start = reader.last
        for number in range(20):
            await pay(door, f"c{number}", 1.0)
        await door.host.settled()
    async with (
        opened(tmp_path, LATER, what=bank) as door,
        reading(door, "/events/Noted", Last_Event_ID=start) as back,
    ):
        assert sorted([(await back.next())["card"] for _ in range(20)]) == sorted(f"c{n}" for n in range(20))


async def test_without_a_log_a_place_ends_with_the_process(tmp_path: Path) -> None:
    async with opened(tmp_path, what=bank) as door:
        async with reading(door, "/events/Noted") as reader:
            last = reader.last
        problem(await door.get("/events/Noted", Last_Event_ID="1.00000000:"), 410, "gone")
        GATES.setdefault("a", asyncio.Event()).set()
        for _ in range(KEPT):
            await door.host.publish(Paid("a", 1.0))
        problem(await door.get("/events/Noted", Last_Event_ID=last), 410, "gone")
        problem(await door.get("/events/Noted", Last_Event_ID="yesterday"), 400, "header")


async def test_a_tenant_sees_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path, LATER, what=bank, keys={"ann": ("*",)}) as door:
        bob = made(tmp_path / "callers.json", "bob", "", ("*",))
        cat = made(tmp_path / "callers.json", "cat", "", ("events.*",))
        door.gate.admission.refresh()
        async with (
            reading(door, "/events/Noted") as ann,
            reading(door, "/events/Noted", X_Api_Key=bob) as hers,
        ):
            await pay(door, "a", 1.0)
            await pay(door, "b", 2.0, X_Api_Key=bob)
            assert (await hers.next())["card"] == "b"
            assert (await ann.next())["card"] == "a"
        problem(await door.get("/events/Noted", X_Api_Key=cat), 403, "scope")


async def test_it_says_that_it_is_there_and_when_it_ends(tmp_path: Path) -> None:
    async with (
        opened(tmp_path, LATER + "[gateway]\nidle_s = 0.2\n", what=bank) as door,
        reading(door, "/events/Noted?key=x") as reader,
    ):
        await pay(door, "other", 1.0)
        await door.host.settled()
        waiting = asyncio.create_task(reader.next())
        await until(lambda: reader.silent > 3)
        door.stopping.set()
        name, body = await waiting
        assert (name, body["status"]) == ("problem", 503)


async def unread(
    door: Door, count: int, size: int = 40_000
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """Have a client read nothing while more is published than anybody keeps for it; return its last id as well."""
    reader, writer = await door.raw(b"GET /events/Paid HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await reader.readuntil(b"\nid: ")
    last = (await reader.readuntil(b":")).decode()
    writer.transport.pause_reading()
    text = "x" * size
    GATES.setdefault(text, asyncio.Event()).set()
    for number in range(count):
        await door.host.publish(Paid(text, float(number)))
        await asyncio.sleep(0)
    assert len(door.gate.live._kept) <= KEPT
    return reader, writer, last


async def test_who_does_not_read_is_cut_off_and_goes_on_from_there(tmp_path: Path) -> None:
    async with opened(tmp_path, EFFECT + "[gateway]\nidle_s = 1.0\n", what=bank) as door:
        _, writer, last = await unread(door, 400)
        await until(lambda: door.gate.live.readers == 0)
        async with reading(door, "/events/Paid", Last_Event_ID=last) as again:
            assert [(await again.next())["amount"] for _ in range(400)] == list(range(400))
        writer.close()


async def test_who_is_too_slow_for_what_is_kept_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path, what=bank) as door:
        reader, writer, _ = await unread(door, KEPT + 400)
        writer.transport.resume_reading()
        got = b""
        async with asyncio.timeout(20):
            while b"urn:allotrope:slow" not in got and (more := await reader.read(1 << 20)):
                got = got[-1000:] + more
        assert b"urn:allotrope:slow" in got
        writer.close()
