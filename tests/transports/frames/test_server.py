"""A server: who it lets in, what it bounds, and how it leaves."""

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from allotrope import Refused
from allotrope.kernel.errors import Lost
from allotrope.transports.frames import security, sockets, wire
from allotrope.transports.frames.addresses import Unix
from allotrope.transports.frames.client import connect
from allotrope.transports.frames.errors import Unreachable
from allotrope.transports.frames.limits import Limits
from allotrope.transports.frames.security import Key
from allotrope.transports.frames.server import Server
from tests.transports.frames.service import Service, server, serving, until

ROOT = Path(__file__).resolve().parents[3]


async def let_in(folder: Path) -> socket.socket:
    """Return a socket that the server trusts, to send it what no client of ours would."""
    made = await sockets.connected(Unix(f"{folder}/socket"))
    proven = await security.greet(made, Key(folder / "key"), -1)
    if proven.memory >= 0:
        os.close(proven.memory)
    return made


async def rest(made: socket.socket) -> bytes:
    """Return all that comes until the other side closes, or breaks off."""
    found = b""
    loop = asyncio.get_running_loop()
    try:
        while more := await loop.sock_recv(made, 1 << 16):
            found += more
    except ConnectionError:
        pass
    return found


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"\0" * 20, b"unknown kind 0"),
        (wire.HEADER.pack(0xFFFFFFFF, wire.CALL, 0, 0, 0, 1), b"limit 67,108,864"),
        (wire.frame(wire.CALL, 99, 0, 1), b"method 99"),
        (wire.frame(wire.OPEN, 0, 0, 1), b"method 0 is not of this kind"),
        (wire.frame(wire.REPLY, 0, 0, 1), b"a client sent a frame of kind"),
        (wire.frame(wire.HELLO, payload=b"\xff"), b"malformed"),
        (wire.frame(wire.RELEASE, number=3), b"none was lent|is not lent"),
        (wire.frame(wire.CALL, 3, 0, 7) * 2, b"call 7 runs already"),
    ],
)
async def test_malformed_frames_end_the_link_with_a_reason(
    folder: Path, sent: bytes, why: bytes, loops: None
) -> None:
    async with serving(folder) as (_, served, link):
        made = await let_in(folder)
        await asyncio.get_running_loop().sock_sendall(made, sent)
        told = await rest(made)
        assert any(each in told for each in why.split(b"|")), told
        made.close()
        assert (await link.call("echo", b"others go on"))[0] == b"others go on"
        assert (served.links, served.running) == (1, 0)


async def test_a_slow_reader_is_dropped(folder: Path, loops: None) -> None:
    """It asks for 100 MB and reads nothing: what waits is bounded, and after a while the link is ended."""
    limits = Limits(write_bytes=1 << 20, stall_s=0.3, arena_bytes=0)
    async with serving(folder, limits) as (service, served, link):
        made = await let_in(folder)
        loop = asyncio.get_running_loop()
        for number in range(100):
            await loop.sock_sendall(made, wire.frame(wire.CALL, 5, 0, number + 1, b"1000000"))
        while served.links == 2:
            assert (
                max(peer.connection._transport.get_write_buffer_size() for peer in served._peers) < 10 << 20
            )
            await asyncio.sleep(0.01)
        assert service.yielded < 20
        made.close()
        assert (await link.call("echo", b"x"))[0] == b"x"


async def test_draining_finishes_what_runs_and_takes_no_more(folder: Path, loops: None) -> None:
    async with serving(folder) as (service, served, link):
        running = asyncio.create_task(link.call("nap", b""))
        await service.begun.wait()
        draining = asyncio.create_task(served.drain(5.0))
        await until(lambda: link.closed)
        with pytest.raises(Unreachable, match="leaving"):
            await link.call("echo", b"")
        service.ended.set()
        assert (await running)[0] == b"rested"
        assert await draining == 0
        assert not (folder / "socket").exists()
        assert "leaving" in await link.wait_closed()


async def test_what_outlasts_the_grace_is_cut(folder: Path) -> None:
    async with serving(folder) as (service, served, link):
        running = asyncio.create_task(link.call("wait", b""))
        await service.begun.wait()
        assert await served.drain(0.05) == 1
        with pytest.raises(Lost, match="cut while it ran"):
            await running
        assert service.running == served.running == 0


async def test_a_killed_client_leaves_nothing(folder: Path, no_leak: None) -> None:
    code = (
        "import asyncio, sys\nfrom allotrope.transports.frames.client import connect\n"
        "from allotrope.transports.frames.security import Key\n"
        "async def main():\n"
        "    link = await connect(sys.argv[1], Key(sys.argv[2]))\n"
        "    calls = [asyncio.create_task(link.call('wait', b'', [bytes(100000)])) for _ in range(5)]\n"
        "    await asyncio.gather(*calls)\n"
        "asyncio.run(main())"
    )
    async with serving(folder) as (service, served, _):
        command = [sys.executable, "-c", code, f"unix:{folder}/socket", str(folder / "key")]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
        await until(lambda: service.running == 5)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await until(lambda: not service.running and served.links == 1)
        assert served.running == 0


async def test_strangers_that_say_nothing_are_shown_out_and_hold_up_nobody(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(greeting_s=0.3, greetings=8)
    with caplog.at_level(logging.WARNING, "allotrope.frames"):
        async with serving(folder, limits, Limits()) as (_, served, _):
            strangers = [await sockets.connected(Unix(f"{folder}/socket")) for _ in range(20)]
            late = await connect(f"unix:{folder}/socket", Key(folder / "key"))
            assert (await late.call("echo", b"x"))[0] == b"x"
            await late.close()
            await until(lambda: served.counters.refused_links == 20)
            for made in strangers:
                made.close()
    assert "no greeting within 0.3 s" in caplog.text
    assert len(caplog.records) < 20  # strangers do not fill the log


async def test_no_more_links_than_allowed(folder: Path, key: Key) -> None:
    async with serving(folder, Limits(links=1)) as (_, served, link):
        with pytest.raises(Unreachable, match="no greeting"):
            await connect(f"unix:{folder}/socket", key, Limits(greeting_s=0.1))
        await link.close()
        await until(lambda: not served.links)
        again = await connect(f"unix:{folder}/socket", key)
        assert (await again.call("echo", b"x"))[0] == b"x"
        await again.close()


async def test_addresses_that_cannot_be_had(folder: Path, key: Key) -> None:
    async with serving(folder) as (_, served, _):
        with pytest.raises(Refused, match=r"cannot listen at unix:.*socket: Address already in use"):
            await server(Service(), key).listen(f"unix:{folder}/socket")
        with pytest.raises(Refused, match="No such file"):
            await served.listen(f"unix:{folder}/none/socket")
        with pytest.raises(Refused, match="does not hide what is sent"):
            await served.listen("tcp://0.0.0.0:0")
        (folder / "file").write_text("precious")
        with pytest.raises(Refused, match="in use"):
            await served.listen(f"unix:{folder}/file")
        assert (folder / "file").read_text() == "precious"
    with pytest.raises(Refused, match="`echo` is given twice"):
        Server({"echo": Service().echo}, {"echo": Service().arrays}, key)


async def test_a_socket_left_behind_is_taken_over(folder: Path, key: Key) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(f"{folder}/socket")
    left.close()
    async with serving(folder) as (_, _, link):
        assert (await link.call("echo", b"x"))[0] == b"x"
        assert os.stat(folder / "socket").st_mode & 0o777 == 0o600
    assert not (folder / "socket").exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
async def test_a_long_path_works_or_is_named(folder: Path, key: Key) -> None:
    deep = folder / ("d" * 120)
    deep.mkdir()
    served = server(Service(), key)
    address = await served.listen(f"unix:{deep}/socket")
    link = await connect(address, key)
    assert (await link.call("echo", b"x"))[0] == b"x"
    await link.close()
    await served.close()
    assert not (deep / "socket").exists()
    with pytest.raises(Refused, match="choose a shorter one"):
        await served.listen(f"unix:{folder}/{'n' * 101}")


async def test_who_leaves_at_once_is_forgotten(folder: Path, loops: None) -> None:
    async with serving(folder) as (_, served, _):
        for _ in range(50):
            (await let_in(folder)).close()
        await until(lambda: served.links == 1 and not served._greetings)
