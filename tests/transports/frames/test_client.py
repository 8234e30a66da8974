"""A link: calls, deadlines, cancellation and streams, and what the caller is told when something breaks."""

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from allotrope import Failed, Refused
from allotrope.kernel.errors import Expired, Lost, Overloaded
from allotrope.transports.frames import wire
from allotrope.transports.frames.client import connect
from allotrope.transports.frames.errors import RemoteError, Unreachable
from allotrope.transports.frames.limits import Limits
from allotrope.transports.frames.security import Key
from tests.transports.frames.service import RAISED, Service, server, serving, until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def apart(folder: Path, key: Key) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Give the address of a server in a process of its own, and the process."""
    command = [sys.executable, "-m", "tests.transports.frames.service", f"unix:{folder}/apart", str(key.path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.kill()


async def test_an_answer_comes_back_to_its_caller(loops: None, folder: Path) -> None:
    async with serving(folder) as (_, served, link):
        sent = [f"{number}".encode() * (number * 37) for number in range(200)]
        found = await asyncio.gather(*(link.call("echo", each, timeout_s=5.0) for each in sent))
        assert [payload for payload, _ in found] == sent
        assert link.inflight == served.running == 0
        assert (link.counters.calls, served.counters.calls) == (200, 200)


async def test_over_tcp_as_well(loops: None, folder: Path, key: Key) -> None:
    served = server(Service(), key)
    address = await served.listen("tcp://127.0.0.1:0")
    link = await connect(address, key)
    array = bytes(range(256)) * 5000
    payload, buffers = await link.call("echo", b"x", [array])
    assert (payload, [bytes(each) for each in buffers]) == (b"x", [array])
    await link.close()
    await served.close()


async def test_who_waits_long_does_not_hold_up_the_others(folder: Path) -> None:
    async with serving(folder) as (service, _, link):
        slow = asyncio.create_task(link.call("nap", b""))
        await service.begun.wait()
        assert (await link.call("echo", b"quick"))[0] == b"quick"
        assert link.inflight == 1
        service.ended.set()
        assert (await slow)[0] == b"rested"


@pytest.mark.parametrize("name", [*(RAISED.keys() - {"path"}), "undeclared"])
async def test_what_the_server_raises_arrives(folder: Path, name: str) -> None:
    expected = RAISED.get(name, Failed("", "fail", "KeyError: 'x'"))
    async with serving(folder) as (_, _, link):
        with pytest.raises(type(expected)) as raised:
            await link.call("fail", name.encode())
        assert type(raised.value) is type(expected)
        assert str(raised.value) == str(expected)
        assert (await link.call("echo", b"still"))[0] == b"still"


async def test_refused_before_anything_is_sent(folder: Path, key: Key) -> None:
    with pytest.raises(Unreachable, match="is its server running"):
        await connect(f"unix:{folder}/none", key)
    async with serving(folder, client=Limits(frame_bytes=1 << 30, buffers=3)) as (service, served, link):
        with pytest.raises(Refused, match=r"no method `eco`. Nearest: `echo`"):
            await link.call("eco", b"")
        with pytest.raises(Expired):
            await link.call("echo", b"", timeout_s=0.0)
        with pytest.raises(Refused, match="takes 67,108,864"):
            await link.call("echo", bytes((64 << 20) + 1))
        with pytest.raises(Refused, match="takes 67,108,864"):
            await link.call("echo", b"", [bytes(65 << 20)])
        with pytest.raises(Refused, match="limit 3"):
            await link.call("echo", b"", [b""] * 4)
        with pytest.raises(Refused, match="contiguous"):
            await link.call("echo", b"", [memoryview(b"abcd")[::2]])
        assert not service.calls
        assert served.counters.calls == link.inflight == 0
        assert link._connection.arena is not None
        assert link._connection.arena.taken == 0
    with pytest.raises(Unreachable, match="the client closed it"):
        await link.call("echo", b"")


async def test_a_deadline_cuts_the_call_at_both_sides(loops: None, folder: Path) -> None:
    async with serving(folder) as (service, served, link):
        with pytest.raises(Lost, match="wait did not end within its deadline"):
            await link.call("wait", b"", timeout_s=0.05)
        await service.ended.wait()
        assert (link.inflight, link.counters.expired) == (0, 1)
        assert served.running == 0


async def test_each_call_has_its_own_deadline(loops: None, folder: Path) -> None:
    """One timer serves them all: a later call may be due earlier, and others need not end at all."""
    async with serving(folder) as (_, _, link):
        due: list[float] = []

        async def cut(timeout_s: float) -> None:
            with pytest.raises(Lost, match="deadline"):
                await link.call("wait", b"", timeout_s=timeout_s)
            due.append(timeout_s)

        calls = [asyncio.create_task(link.call("wait", b"", timeout_s=left)) for left in (60.0, None)]
        async with asyncio.timeout(20.0):
            await asyncio.gather(*(cut(timeout_s) for timeout_s in (0.3, 0.1, 0.2, 0.1)))
        assert due == [0.1, 0.1, 0.2, 0.3]
        assert (link.inflight, link.counters.expired) == (2, 4)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert link.inflight == 0


async def test_the_server_is_told_the_time_that_is_left(folder: Path) -> None:
    async with serving(folder) as (service, _, link):
        await link.call("echo", b"", timeout_s=20.0)
        await link.call("echo", b"")
        left = (service.calls[0].deadline or 0.0) - asyncio.get_running_loop().time()
        assert 15.0 < left <= 20.0
        assert service.calls[1].deadline is None


async def test_cancelling_the_caller_cancels_the_call(loops: None, folder: Path) -> None:
    async with serving(folder) as (service, served, link):
        call = asyncio.create_task(link.call("wait", b""))
        await service.begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await service.ended.wait()
        at_once = asyncio.create_task(link.call("wait", b""))
        await asyncio.sleep(0)
        at_once.cancel()  # call and cancellation arrive in one piece
        with pytest.raises(asyncio.CancelledError):
            await at_once
        await link.call("echo", b"")
        assert served.running == link.inflight == 0


async def test_a_stream_comes_whole_and_in_order(loops: None, folder: Path) -> None:
    async with serving(folder) as (_, served, link):
        found = [payload async for payload, _ in link.stream("count", b"3000 5")]
        assert [int(each.rstrip(b".")) for each in found] == list(range(3000))
        arrays = [bytes(views[0]) async for _, views in link.stream("arrays", b"5")]
        assert arrays == [bytes([number]) * 100_000 for number in range(5)]
        assert served.running == link.inflight == 0


async def test_a_stream_waits_for_who_listens(folder: Path) -> None:
    """Memory is bounded: with a window of 64 KiB and items of 1,000 bytes, about 62 are on their way at most."""
    async with serving(folder, client=Limits(window_bytes=64 << 10)) as (service, _, link):
        async with contextlib.aclosing(link.stream("count", b"100000 1000")) as items:
            first = await anext(items)
            assert first[0].startswith(b"0.")
            for _ in range(50):
                await link.call("echo", b"")  # while nobody reads, others go on
            assert service.yielded < 70
            for _ in range(200):
                await anext(items)
            assert 200 <= service.yielded < 270
        await service.ended.wait()  # who stops listening ends the other side
        assert link.inflight == 0
        assert service.yielded < 270


async def test_a_stream_ends_as_its_server_ends_it(folder: Path) -> None:
    async with serving(folder) as (_, _, link):
        items = link.stream("count", b"3 1 fail")
        found = [(await anext(items))[0] for _ in range(3)]
        assert found == [b"0", b"1", b"2"]
        with pytest.raises(RemoteError) as raised:
            await anext(items)
        assert raised.value.payload == b"spent"
        with pytest.raises(Refused, match="Nearest: `count`"):
            await anext(link.stream("cound", b""))


async def test_a_deadline_and_a_cancellation_cut_a_stream(folder: Path) -> None:
    async with serving(folder) as (service, served, link):
        with pytest.raises(Lost, match="deadline"):
            async for _ in link.stream("count", b"1000000 9", timeout_s=0.1):
                pass
        await service.ended.wait()
        service.ended.clear()

        async def listen() -> None:
            async for _ in link.stream("count", b"10000000 9"):
                service.begun.set()

        listening = asyncio.create_task(listen())
        await service.begun.wait()
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        await service.ended.wait()
        await link.call("echo", b"")
        assert served.running == link.inflight == 0


async def test_large_arrays_go_through_shared_memory_and_stay_what_they_are(
    loops: None, folder: Path
) -> None:
    numpy = pytest.importorskip("numpy")
    async with serving(folder) as (service, _, link):
        array = numpy.arange(262_144, dtype=numpy.float32)
        _, (view,) = await link.call("echo", b"", [array])
        back = numpy.frombuffer(view, dtype=numpy.float32)
        del view
        for turn in range(20):
            await link.call("echo", b"", [array + turn])
        assert (back == array).all()  # nobody writes where somebody still looks
        kept = numpy.frombuffer(service.calls[0].buffers[0], dtype=numpy.float32)
        assert (kept == array).all()
        assert not back.flags.writeable
        assert link._connection.arena is not None
        assert link._connection.window is not None
        assert link._connection.arena.taken == 21 * 16
        window = link._connection.window
        await until(lambda: window.lent == 1)
        service.calls.clear()
        del kept, back
        gc.collect()
        arena = link._connection.arena
        await until(lambda: (arena.taken, window.lent) == (0, 0))


async def test_a_large_payload_goes_through_shared_memory_too(loops: None, folder: Path) -> None:
    async with serving(folder) as (service, _, link):
        arena = link._connection.arena
        for size in (64 << 10, 1 << 20, (1 << 20) + 1):
            payload, (view,) = await link.call("echo", bytes(range(256)) * (size // 256), [b"x" * 70_000])
            assert payload == service.calls[-1].payload == bytes(range(256)) * (size // 256)
            assert bytes(view) == b"x" * 70_000
            assert link._connection._transport.get_write_buffer_size() == 0
        del view
        service.calls.clear()
        await until(lambda: arena.taken == link._connection.window.lent == 0)


@pytest.mark.parametrize("arena", [0, 128 << 10])
async def test_without_room_in_shared_memory_arrays_go_inline(folder: Path, arena: int) -> None:
    limits = Limits(arena_bytes=arena)
    async with serving(folder, limits) as (service, _, link):
        array = bytes(range(256)) * 4096
        for size in (len(array), 100_000, 100_000, 100_000):
            _, (view,) = await link.call("echo", b"", [array[:size]])
            assert bytes(view) == array[:size]
        assert [call.buffers[0].nbytes for call in service.calls] == [len(array), 100_000, 100_000, 100_000]


async def test_a_killed_server_loses_what_it_had(
    apart: tuple[str, subprocess.Popen[str]], key: Key, no_leak: None
) -> None:
    address, process = apart
    link = await connect(address, key)
    calls = [asyncio.create_task(link.call("wait", b"", [bytes(100_000)])) for _ in range(5)]
    stream = link.stream("count", b"1000000 100000")
    await anext(stream)
    process.kill()
    for call in calls:
        with pytest.raises(Lost, match="before there was an answer"):
            await call
    with pytest.raises(Lost):
        async for _ in stream:
            pass
    assert (link.closed, link.inflight) == (True, 0)
    with pytest.raises(Unreachable):
        await link.call("echo", b"")
    with pytest.raises(Unreachable):
        await connect(address, key)


async def test_a_stopped_server_is_noticed(apart: tuple[str, subprocess.Popen[str]], key: Key) -> None:
    """The socket stays open and nothing comes: half-open, as far as anybody can tell."""
    address, process = apart
    link = await connect(address, key, Limits(ping_s=0.1))
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(Lost, match="silent: no answer to a ping"):
            await link.call("echo", b"")
        assert link.closed
    finally:
        process.send_signal(signal.SIGCONT)


async def test_a_quiet_link_stays_open(folder: Path) -> None:
    async with serving(folder, Limits(ping_s=0.05)) as (service, served, link):
        call = asyncio.create_task(link.call("nap", b""))
        await service.begun.wait()
        await asyncio.wait([call], timeout=0.5)  # ten pings long
        service.ended.set()
        assert (await call)[0] == b"rested"
        assert served.links == 1


async def test_nothing_grows(loops: None, folder: Path, key: Key) -> None:
    """Files and tasks are as many after 60 links with calls, streams and cuts as before."""

    async def once() -> None:
        async with serving(folder) as (_, _, link):
            await asyncio.gather(*(link.call("echo", b"x", [bytes(100_000)]) for _ in range(5)))
            async for _ in link.stream("count", b"9 9"):
                break
            with contextlib.suppress(Lost):
                await link.call("wait", b"", timeout_s=0.001)

    await once()
    gc.collect()
    gc.disable()  # what ends has to go by itself: no circle may hold a file
    try:
        files, tasks = len(os.listdir("/dev/fd")), len(asyncio.all_tasks())
        for _ in range(20):
            await once()
        assert len(os.listdir("/dev/fd")) <= files + 1
        assert len(asyncio.all_tasks()) == tasks
    finally:
        gc.enable()


async def test_overload_is_told_at_once(folder: Path) -> None:
    async with serving(folder, Limits(calls_per_link=3)) as (service, served, link):
        waiting = [asyncio.create_task(link.call("nap", b"")) for _ in range(3)]
        await service.begun.wait()
        with pytest.raises(Overloaded) as refused:
            await link.call("nap", b"")
        assert refused.value.retry_after_s
        assert served.counters.refused == 1
        service.ended.set()
        assert {payload for payload, _ in await asyncio.gather(*waiting)} == {b"rested"}
        assert (await link.call("echo", b"again"))[0] == b"again"


async def test_a_deadline_also_binds_the_wait_for_room(folder: Path) -> None:
    """The server's other end is stuck, so nothing more can be written."""
    async with serving(folder) as (_, _, link):
        link._connection.pause_writing()
        with pytest.raises(Expired, match="before it could be sent"):
            await link.call("echo", b"", timeout_s=0.05)
        later = asyncio.create_task(link.call("echo", b"x", timeout_s=5.0))
        await asyncio.sleep(0)
        link._connection.resume_writing()
        assert (await later)[0] == b"x"


async def test_a_server_that_sends_more_than_was_asked_for_is_left(folder: Path) -> None:
    async with serving(folder, client=Limits(window_bytes=10_000)) as (_, served, link):
        stream = link.stream("count", b"1000 1000")
        await anext(stream)
        (peer,) = served._peers
        (number,) = peer._credits
        for _ in range(30):
            peer.connection.send(wire.frame(wire.ITEM, number=number, payload=bytes(1000)))
        await until(lambda: link.closed)
        assert "more than was asked for" in link.reason
        with pytest.raises(Lost):
            async for _ in stream:
                pass
