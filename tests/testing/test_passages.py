"""A network that loses, holds up and doubles: what clients repeat under one id has one effect, in order."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from allotrope.testing.history import Diary, History, examined
from allotrope.testing.passages import Passage, http_request
from tests.faults.bank import app
from tests.faults.branch import LEADS, Life
from tests.gateway.doors import opened

DURABLE = 'durability = "process"\nreply = "effect"\n[topic."*"]\nvia = "log"\n'
CLIENTS, NUMBERS = 4, 25


async def client(port: int, account: str, diary: Diary) -> None:
    """Send deposits one after the other, each until it is answered."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5.0) as line:
        for number in range(NUMBERS):
            path = "/events/Deposit" if number % 3 else "/Teller/pay"
            given, key = {"account": account, "number": number}, {"idempotency-key": f"{account}/{number}"}
            answered = False
            while not answered:
                with (
                    contextlib.suppress(httpx.TransportError),
                    diary.act(account, (account, str(number))) as reads,
                ):
                    reply = (await line.post(path, json=given, headers=key)).raise_for_status().json()
                    if number % 3 == 0:
                        reads[account] = tuple(map(str, reply[1]["own"]))
                    answered = True


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_bad_network_changes_nothing(tmp_path: Path, seed: int, note: Callable[[str], None]) -> None:
    diary = Diary()
    async with opened(tmp_path, DURABLE, what=app) as door, Passage(door.port, seed, http_request) as way:
        way.lost, way.doubled, way.delay_s = 0.1, 0.2, 0.01
        async with asyncio.timeout(60):
            await asyncio.gather(*(client(way.port, f"a{n}", diary) for n in range(CLIENTS)))
        end = await Life(door.host, tmp_path, "").end()
    assert {"delayed", "doubled", "request lost", "answer lost"} <= way.happened.keys()
    assert Counter(act.end for act in diary.acts)["ok"] == CLIENTS * NUMBERS
    assert examined(History(diary.acts, end.marks, LEADS)) == []
    note(f"network, seed {seed}: {dict(way.happened)}; 0 lost, 0 doubled, 0 reordered within a key")


async def test_an_end_that_is_cut_is_seen_by_both_sides() -> None:
    ended = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        ended.set()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Passage(server.sockets[0].getsockname()[1]) as way, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        writer.write(b"one")
        assert await reader.read(100) == b"one"
        way.cut()
        assert await reader.read(100) == b""
        await ended.wait()
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        assert await reader.read(100) == b""
        way.mend()
        reader, writer = await asyncio.open_connection("127.0.0.1", way.port)
        writer.write(b"three")
        assert await reader.read(100) == b"three"
        writer.close()


@pytest.mark.parametrize(
    ("buffer", "size"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\nrest", 27),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcd", 41),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcd", 0),
        (b"POST / HTTP/1.1\r\nContent-", 0),
    ],
)
def test_the_first_request_of_a_buffer(buffer: bytes, size: int) -> None:
    assert http_request(buffer) == size
