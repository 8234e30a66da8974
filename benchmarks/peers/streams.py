"""What all arms of `make bench-events` share: the loops that measure, and their servers. It knows nothing of ours.

An arm says how to publish and how to know of an effect; it answers each line such as `effect 1.0` with one of JSON. Its
server runs below it, so that the processor time read from outside has both.
"""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from time import perf_counter

TEXT = "x" * 272  # with its key and number about 300 bytes, in JSON and in msgpack
AT_ONCE, KEYS = 256, 1000  # events on their way, and keys that they have
AWAY_S = 20.0  # in which a server has to come up


@dataclass(frozen=True, slots=True)
class Ways:
    """What one arm can do; each takes the number of an event."""

    store: Callable[[int], Awaitable[object]]  # returns once an event is kept that nobody takes
    publish: Callable[[int], Awaitable[object]]  # the same of one that has an effect
    effect: Callable[[int], Awaitable[object]]  # publishes one, and returns once its effect is committed
    settled: Callable[[], Awaitable[object]]  # returns once all that were published have had theirs


async def _many(one: Callable[[int], Awaitable[object]], seconds: float) -> int:
    """Return how many were done in a while, always so many at once."""
    done, end = 0, perf_counter() + seconds

    async def publisher() -> None:
        nonlocal done
        while perf_counter() < end:
            done += 1
            await one(done)

    await asyncio.gather(*(publisher() for _ in range(AT_ONCE)))
    return done


async def _lone(one: Callable[[int], Awaitable[object]], seconds: float) -> list[float]:
    """Return what each took, one after the other."""
    times: list[float] = []
    start = last = perf_counter()
    while last - start < seconds:
        await one(len(times))
        now = perf_counter()
        times.append(now - last)
        last = now
    return times


async def measured(ways: Ways, line: str) -> dict[str, float]:
    """Return what one command measured: events, seconds, and of lone ones the times."""
    what, given = line.split()
    start, times = perf_counter(), list[float]()
    if what == "stored":
        calls = await _many(ways.store, float(given))
    elif what == "effect":
        calls = await _many(ways.publish, float(given))
        await ways.settled()
    else:
        times = await _lone(ways.store if what == "single" else ways.effect, float(given))
        calls = len(times)
    found: dict[str, float] = {"calls": calls, "seconds": perf_counter() - start}
    if len(times) > 1:
        cuts = quantiles(times, n=100)
        found |= {"p50_us": cuts[49] * 1e6, "p99_us": cuts[98] * 1e6}
    return found


async def answered(ways: Ways) -> None:
    """Measure for each line that comes in, until there are no more. One event is taken first, to be sure of it."""
    await asyncio.wait_for(ways.effect(0), AWAY_S)
    print(json.dumps({"ready": True}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await measured(ways, line)), flush=True)


@contextlib.contextmanager
def server(kind: str, folder: Path) -> Iterator[int]:
    """Run a server that keeps what it takes in a folder, and give its port. It ends with us."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = {"nats": "nats-server", "redis": "redis-server"}[kind]
    if (path := shutil.which(program)) is None:
        sys.exit(f"no {program} here")
    given = {
        "nats": ["-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)],
        "redis": ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "",
                  "--appendonly", "yes", "--appendfsync", "everysec"],
    }[kind]  # fmt: skip
    with subprocess.Popen([path, *given], stdout=sys.stderr) as process:
        try:
            end = time.monotonic() + AWAY_S
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if time.monotonic() > end or process.poll() is not None:
                    sys.exit(f"{program} does not answer")
                time.sleep(0.02)
            yield port
        finally:
            process.kill()
