"""Sockets before they are connections: short messages to the byte, and open files that nobody leaves behind."""

import array
import asyncio
import os
import socket
from pathlib import Path

import pytest

from allotrope.transports.frames import sockets


@pytest.fixture
def pair(no_leak: None) -> "tuple[socket.socket, socket.socket]":
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    for each in (ours, theirs):
        each.setblocking(False)
    return ours, theirs


async def test_a_message_comes_whole_and_the_next_is_left_where_it_is(
    loops: None, pair: "tuple[socket.socket, socket.socket]"
) -> None:
    with pair[0], pair[1]:
        hearing = asyncio.create_task(sockets.heard(pair[1], 5))
        await sockets.told(pair[0], b"ab")
        await sockets.told(pair[0], b"cdefg")
        assert await hearing == (b"abcde", -1)
        assert pair[1].recv(10) == b"fg"


async def test_an_open_file_comes_along(
    loops: None, pair: "tuple[socket.socket, socket.socket]", folder: Path
) -> None:
    with pair[0], pair[1], (folder / "file").open("w+") as file:
        hearing = asyncio.create_task(sockets.heard(pair[1], 4))
        await sockets.told(pair[0], b"abcd", file.fileno())
        data, got = await hearing
        assert (data, os.fstat(got).st_ino) == (b"abcd", os.fstat(file.fileno()).st_ino)
        assert not os.get_inheritable(got)
        os.close(got)


async def test_open_files_that_nobody_asked_for_are_closed(
    pair: "tuple[socket.socket, socket.socket]", folder: Path
) -> None:
    with pair[0], pair[1], (folder / "file").open("w+") as file:
        several = array.array("i", [file.fileno()] * 8)
        pair[0].sendmsg([b"ab"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, several)])
        pair[0].sendmsg([b"cd"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, several)])
        _, got = await sockets.heard(pair[1], 4)
        os.close(got)  # `no_leak` counts the rest


async def test_who_breaks_off_leaves_no_file(
    pair: "tuple[socket.socket, socket.socket]", folder: Path
) -> None:
    with pair[1], (folder / "file").open("w+") as file:
        await sockets.told(pair[0], b"ab", file.fileno())
        pair[0].close()
        with pytest.raises(ConnectionError, match="closed"):
            await sockets.heard(pair[1], 4)


async def test_the_other_end_is_known(pair: "tuple[socket.socket, socket.socket]") -> None:
    with pair[0], pair[1]:
        user, process = sockets.peer(pair[0])
        assert (user, process) in ((os.getuid(), os.getpid()), (os.getuid(), 0))
