"""A connection: what is written in one turn goes out as one piece, and each way to end is told to both sides."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from allotrope import Refused
from allotrope.transports.frames import wire
from allotrope.transports.frames.connection import Connection
from allotrope.transports.frames.limits import Limits


@asynccontextmanager
async def joined(limits: Limits | None = None) -> AsyncIterator[tuple[Connection, socket.socket, list[str]]]:
    """Give a connection, the bare socket at its other end, and the reasons for which it ended."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    theirs.setblocking(False)
    connection, ends = Connection(limits or Limits()), list[str]()
    connection.ended = ends.append
    await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, ours)
    with theirs:
        yield connection, theirs, ends
        if connection.open:
            connection.abort("the test is over")
        await connection.closed


async def read(other: socket.socket, size: int = 1 << 20) -> bytes:
    return await asyncio.get_running_loop().sock_recv(other, size)


async def test_a_turn_of_the_loop_is_one_piece(loops: None) -> None:
    async with joined() as (connection, other, _):
        frames = [wire.frame(wire.CALL, number=number, payload=b"x" * 50) for number in range(64)]
        for frame in frames:
            connection.send(frame)
        assert await read(other) == b"".join(frames)


async def test_large_and_small_frames_keep_their_order(loops: None) -> None:
    async with joined() as (connection, other, _):
        found: list[tuple[int, bytes, bytes]] = []
        decoder = wire.Decoder(Limits(), lambda *frame: found.append((frame[3], frame[4], bytes(*frame[5]))))
        sizes = (10, 300_000, 20, 70_000, 0)
        for number, size in enumerate(sizes):
            connection.send_laden((wire.CALL, 0, 0, number), b"p%d" % number, [bytes([number]) * size])
        while len(found) < len(sizes):
            data = await read(other, len(decoder.room()))
            decoder.room()[: len(data)] = data
            decoder.feed(len(data))
        assert found == [
            (number, b"p%d" % number, bytes([number]) * size) for number, size in enumerate(sizes)
        ]


async def test_a_ping_is_answered_and_silence_ends_it(loops: None) -> None:
    async with joined(Limits(ping_s=0.05)) as (connection, other, ends):
        await asyncio.get_running_loop().sock_sendall(other, wire.frame(wire.PING))
        assert await read(other) == wire.frame(wire.PONG)
        assert await read(other) == wire.frame(wire.PING)
        await connection.closed
        assert ends == ["silent: no answer to a ping for 0.05 s"]


async def test_a_malformed_frame_ends_it_and_says_why(loops: None) -> None:
    async with joined() as (connection, other, ends):
        await asyncio.get_running_loop().sock_sendall(other, wire.frame(200))
        told = await read(other)
        assert wire.HEADER.unpack_from(told)[1] == wire.GOAWAY
        assert b"malformed: frame of unknown kind 200" in told
        assert await read(other) == b""
        await connection.closed
        assert ends[0].startswith("malformed")
        connection.send(b"after the end, in peace")


async def test_a_version_that_is_not_ours_ends_it() -> None:
    async with joined() as (connection, _, _):
        told = wire.frame(wire.HELLO, payload=b"\x93\x09\xcd\x10\x00\x90")
        with pytest.raises(wire.Malformed, match="speaks version 9, this one 1"):
            connection.greeted(told[wire.SIZE :])


async def test_writers_wait_while_too_much_is_on_its_way(loops: None) -> None:
    async with joined(Limits(write_bytes=100_000)) as (connection, other, _):
        for number in range(60):
            connection.send_laden((wire.CALL, 0, 0, number), bytes(50_000), ())
        assert connection.paused
        waiting = asyncio.create_task(connection.writable())
        got = 0
        while not waiting.done():
            got += len(await read(other))
        assert not connection.paused
        assert got > 60 * 50_000 - 4_000_000


async def test_a_reader_that_stalls_ends_it() -> None:
    async with joined(Limits(write_bytes=1000, stall_s=0.05)) as (connection, _, ends):
        for number in range(100):
            connection.send_laden((wire.CALL, 0, 0, number), bytes(50_000), ())
        await connection.closed
        assert ends == ["slow reader: 1,000 bytes waited 0.05 s"]
        await connection.writable()  # at the end nobody is left waiting


async def test_a_frame_that_the_other_side_would_not_take_is_not_sent() -> None:
    async with joined() as (connection, _, _):
        connection.peer_bytes = 1000
        for payload, buffers in ((bytes(1001), ()), (b"", (bytes(990),))):
            with pytest.raises(Refused, match="the other side takes 1,000"):
                connection.send_laden((wire.CALL, 0, 0, 1), payload, buffers)
