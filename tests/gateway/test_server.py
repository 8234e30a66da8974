"""Clients that are slow, rude or many: each gets a clear answer or is cut off, and nothing grows."""

import asyncio
import json
import os
import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from tests.gateway.doors import opened, until

POST = b"POST /Shelf/loaf HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
BRIEF = "[gateway]\nidle_s = 0.5\n"


async def send_for_ever(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(15):
        while True:
            writer.write(b" " * 65536)
            await writer.drain()


async def status(reader: asyncio.StreamReader) -> int:
    """Return the status of the one answer that comes before the connection is closed."""
    async with asyncio.timeout(15):
        data = await reader.read()
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    code = int(head.split()[1])
    assert json.loads(body)["status"] == code
    return code


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", 408),
        (b"POST /Shelf/loaf HTTP/1.1\r\nhost: x", 408),
        (POST + b"content-length: 10\r\n\r\n", 408),
        (POST + b"content-length: 10\r\n\r\n{", 408),
        (POST + b"transfer-encoding: chunked\r\n\r\n5\r\n{", 408),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (POST + b"content-length: -1\r\n\r\n", 400),
        (POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 80_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000, 431),
        (POST + b"content-length: 1048577\r\n\r\n", 413),
        (POST + b"transfer-encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 17, 413),
    ],
    ids=lambda given: repr(given)[:40] if isinstance(given, bytes) else str(given),
)
async def test_who_does_not_speak_properly_is_told_and_cut_off(
    tmp_path: Path, sent: bytes, expected: int
) -> None:
    async with opened(tmp_path, BRIEF) as door:
        reader, writer = await door.raw(sent)
        assert await status(reader) == expected
        writer.close()
        await until(lambda: not door.server.server_state.connections)
        assert door.gate.admission.turnstile.free == door.gate.settings.inflight
        assert (await door.get("/Shelf/loaf?id=a")).status_code == 200


async def test_a_body_that_trickles_ends_at_the_deadline(tmp_path: Path) -> None:
    async with opened(tmp_path, "[gateway]\ndeadline_s = 0.6\nidle_s = 5.0\n") as door:
        reader, writer = await door.raw(POST + b"content-length: 1000\r\n\r\n")
        answer = asyncio.create_task(status(reader))
        while not answer.done():
            writer.write(b" ")
            await asyncio.wait([answer], timeout=0.05)
        assert answer.result() == 408
        writer.close()


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    async with opened(tmp_path, BRIEF) as door:
        size = 30_000_000
        asked = b"GET /Oven/crumbs?size=%d HTTP/1.1\r\nhost: localhost\r\n\r\n" % size
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
        writer.write(asked)
        await reader.readexactly(100)
        await until(lambda: not door.server.server_state.connections)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(size)
        writer.close()


async def test_requests_one_after_the_other_on_one_connection(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        one = POST + b'content-length: 10\r\n\r\n{"id":"a"}'
        reader, writer = await door.raw(one * 3)
        async with asyncio.timeout(10):
            for _ in range(3):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                assert await reader.readexactly(4) == b"null"
        writer.close()


async def test_the_number_of_connections_is_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path, "[gateway]\nconnections = 2\n") as door:
        held = [await door.raw(POST) for _ in range(2)]
        reader, writer = await door.raw(b"")
        assert await status(reader) == 503
        for _, other in (*held, (reader, writer)):
            other.close()


async def test_a_large_body_that_is_allowed(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        assert (await door.post("/Shelf/loaf", {"id": "a" * 1_000_000})).json() is None
        answer = await door.post("/Shelf/loaf", {"id": "a" * 1_100_000})
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:allotrope:large")
        assert (await door.post("/Shelf/loaf", {"id": "a"})).status_code == 200


async def test_what_comes_after_a_refused_body_is_dropped_and_has_an_end(tmp_path: Path) -> None:
    async with opened(tmp_path, BRIEF) as door:
        reader, writer = await door.raw(POST + b"content-length: 1000000000\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
        with pytest.raises(ConnectionError):
            await send_for_ever(writer)
        writer.close()


async def test_it_speaks_tls_when_it_has_a_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    public, private = tmp_path / "public.pem", tmp_path / "private.pem"
    issued.private_key_pem.write_to_path(private)
    for part in issued.cert_chain_pems:
        part.write_to_path(public, append=True)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with opened(tmp_path, f'[gateway]\ncertificate = ["{public}", "{private}"]\n') as door:
        async with httpx.AsyncClient(verify=context) as client:
            answer = await client.get(f"https://localhost:{door.port}/Shelf/weigh?grams=2")
            assert answer.json() == 2.0
        reader, writer = await door.raw(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert not (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:

        async def visits() -> None:
            for _ in range(3):
                async with httpx.AsyncClient(base_url=str(door.client.base_url)) as client:
                    await asyncio.gather(*(client.get(f"/Shelf/weigh?grams={n}") for n in range(20)))
                    await client.get("/Oven/rise?pieces=3")
                    await client.post("/Shelf/loaf", json=[])
                    await client.post("/Oven/bake", json={"id": "x"}, headers={"x-deadline-ms": "5"})
            await until(lambda: not door.server.server_state.connections)

        await visits()
        before = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
        await visits()
        assert (len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())) == before
