"""Answers in pieces: as they come, until their end, a problem, or the client's going."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

from tests.gateway.bakery import CLOSED, GATES
from tests.gateway.doors import opened, until


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields.get("event", "message"), json.loads(fields["data"])))
    return found


async def test_each_piece_is_an_event_and_the_end_is_said(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        for answer in (await door.get("/Oven/rise?pieces=3"), await door.post("/Oven/rise", {"pieces": 3})):
            assert answer.headers["content-type"] == "text/event-stream"
            assert [kind for kind, _ in events(answer.text)] == ["message"] * 3 + ["end"]
            assert events(answer.text)[2][1] == {"id": "2", "kind": "rye", "grams": 2}
        assert (await door.post("/Oven/rise", {"pieces": "three"})).status_code == 422
        assert door.gate.admission.turnstile.free == door.gate.settings.inflight


async def test_pieces_come_while_others_are_made(tmp_path: Path) -> None:
    async with opened(tmp_path) as door, door.client.stream("GET", "/Oven/rise?pieces=1&wait=w") as answer:
        parts = answer.aiter_text()
        assert events(await anext(parts))[0][1]["id"] == "0"
        assert len(door.gate.streams) == 1
        GATES["w"].set()
        assert events(await anext(parts)) == [("end", {})]


async def test_a_failure_in_the_middle_is_an_event(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        found = events((await door.get("/Oven/rise?pieces=1&fail=true")).text)
        assert found[1][0] == "problem"
        assert found[1][1]["status"] == 500
        assert "fell" not in found[1][1]["detail"]


async def test_a_client_that_goes_ends_the_work(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        async with door.client.stream("GET", "/Oven/rise?pieces=1&wait=w") as answer:
            await anext(answer.aiter_text())
        await until(lambda: CLOSED == ["w"])
        await until(lambda: door.gate.admission.turnstile.free == door.gate.settings.inflight)
        assert len(door.gate.streams) == 0


async def test_a_deadline_cuts_a_stream(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        answer = await door.get("/Oven/rise?pieces=1&wait=w", X_Deadline_Ms="60")
        assert [kind for kind, _ in events(answer.text)] == ["message", "problem"]
        assert events(answer.text)[1][1]["status"] == 504
        assert CLOSED == ["w"]


async def test_a_stream_is_told_of_the_end_of_the_gateway(tmp_path: Path) -> None:
    async with opened(tmp_path) as door, door.client.stream("GET", "/Oven/rise?pieces=1&wait=w") as answer:
        parts = answer.aiter_text()
        await anext(parts)
        door.stopping.set()
        kind, body = events(await anext(parts))[0]
        assert (kind, body["status"]) == ("problem", 503)
        await door.serving


async def test_what_is_in_flight_is_finished_and_no_more_is_taken(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        asked = asyncio.create_task(door.post("/Oven/bake", {"id": "a"}))
        await until(lambda: "a" in GATES)
        door.stopping.set()
        await until(lambda: door.gate.draining)
        GATES["a"].set()
        assert (await asked).json() == "a"
        await door.serving
        async with httpx.AsyncClient() as late:
            try:
                await late.get(f"http://127.0.0.1:{door.port}/health/live")
            except httpx.ConnectError:
                return
            raise AssertionError("it still listens")
