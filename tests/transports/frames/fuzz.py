"""`make fuzz-frames`: noise against the decoder, and against a live server, for so many seconds.

Every fiftieth round goes through a real link after a sound greeting. It fails on any error that is not Malformed, and
when memory is taken that the limits do not allow.
"""

import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

from allotrope.transports.frames import security, sockets, wire
from allotrope.transports.frames.addresses import Unix
from allotrope.transports.frames.limits import Limits
from allotrope.transports.frames.security import Key
from allotrope.transports.frames.shared import BLOCK, Window, opened
from tests.transports.frames.service import serving

LIMITS = Limits(frame_bytes=1 << 20, arena_bytes=1 << 20, ping_s=60.0)
PEAK_BYTES = 16 << 20  # one frame, one buffer, and what the test itself holds
EDGES = (0, 1, 7, 8, 255, 256, wire.LARGE, wire.ROOM, (1 << 20) - 1, 1 << 20, (1 << 31) - 1, (1 << 32) - 1)


def seed(chance: random.Random) -> bytes:
    """Return a few frames that are sound, or nearly so."""
    data = b""
    for _ in range(chance.randint(1, 5)):
        kind = chance.choice((*range(wire.KINDS + 1), wire.CALL, wire.OPEN))
        views = [
            memoryview(chance.randbytes(chance.choice((0, 1, 9, 70_000))))
            for _ in range(chance.randint(0, 3))
        ]
        views = views if kind in wire.CARRIES else []
        payload = chance.randbytes(chance.choice((0, 3, 100, 40_000)))
        head = kind, chance.choice((0, 1, 3, 6, 99)), chance.choice((0, 5, wire.MAX_MS)), chance.randint(0, 9)
        data += b"".join(
            wire.laden(
                head,
                payload,
                views,
                [chance.choice((-1, -1, 0, 7)) for _ in (*views, 0)[: chance.randint(len(views), 9)]],
            )
        )
    return data


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with some of them changed, cut out, repeated, or set to a number at the edge of something."""
    changed = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        at = chance.randrange(len(changed) + 1)
        way = chance.randrange(4)
        if way == 0 and at < len(changed):
            changed[at] = chance.randrange(256)
        elif way == 1:
            del changed[at : at + chance.randint(1, 30)]
        elif way == 2:
            changed[at:at] = changed[at : at + chance.randint(1, 30)]
        else:
            changed[at : at + 4] = chance.choice(EDGES).to_bytes(4, "little")
    return bytes(changed)


def decoded(data: bytes, chance: random.Random, window: Window) -> bool:
    """Feed the bytes in pieces; return whether they were frames to the end."""
    decoder = wire.Decoder(LIMITS, lambda *frame: None, window)
    at = 0
    try:
        while at < len(data):
            room = decoder.room()
            count = min(chance.randint(1, 70_000), len(room), len(data) - at)
            assert count
            room[:count] = data[at : at + count]
            decoder.feed(count)
            at += count
    except wire.Malformed:
        return False
    return True


async def thrown(folder: Path, data: bytes) -> None:
    """Send the bytes to a live server as a client that it trusts, and read what it says for a moment."""
    loop = asyncio.get_running_loop()
    made = await sockets.connected(Unix(f"{folder}/socket"))
    with made:
        proven = await security.greet(made, Key(folder / "key"), -1)
        os.close(proven.memory)
        try:
            async with asyncio.timeout(0.02):
                await loop.sock_sendall(made, data)
                while await loop.sock_recv(made, 1 << 16):
                    pass
        except (TimeoutError, ConnectionError):
            return


async def fuzzed(seconds: float, start: int = 0) -> str:
    """Return a line on what was done; AssertionError or whatever broke when something did."""
    folder = Path(tempfile.mkdtemp(prefix="al"))
    broken: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: broken.append(context))
    memory = opened(8 * BLOCK)
    window = Window(memory)
    os.close(memory)
    rounds = sound = peak = 0
    end = time.monotonic() + seconds
    try:
        async with serving(folder, LIMITS) as (_, served, link):
            while time.monotonic() < end:
                chance = random.Random(start + rounds)
                data = mutated(seed(chance), chance)
                tracemalloc.start()
                sound += decoded(data, chance, window)
                peak = max(peak, tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
                assert peak < PEAK_BYTES, f"round {start + rounds} took {peak:,} bytes"
                if rounds % 50 == 0:
                    await thrown(folder, data)
                    assert (await link.call("echo", b"alive", timeout_s=5.0))[0] == b"alive"
                assert not broken, f"round {start + rounds}: {broken}"
                rounds += 1
            while served.links > 1:  # noqa: ASYNC110  # the last guest is on its way out
                await asyncio.sleep(0.005)
            assert served.running == 0
    finally:
        shutil.rmtree(folder)
    return (
        f"fuzz of frames: {rounds:,} rounds, {sound:,} of them sound, peak {peak / 1024:,.0f} KiB, no fault"
    )


if __name__ == "__main__":
    print(asyncio.run(fuzzed(float(sys.argv[1]), int(time.time()))))
