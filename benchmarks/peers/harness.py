"""What all arms share: what is sent, and the loops that measure. It takes only msgspec and numpy, and none of ours.

An arm reads lines such as `many 1.0` and answers each with one line of JSON. Its processor time is read from outside,
over the whole tree of its processes.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from statistics import median
from time import perf_counter

import msgspec
import numpy

CALLERS = 64
DEADLINE_S = 5.0
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"  # a W3C traceparent, as all arms send it


class Features(msgspec.Struct):
    """What is asked about: an id and 12 floats."""

    id: str
    f0: float
    f1: float
    f2: float
    f3: float
    f4: float
    f5: float
    f6: float
    f7: float
    f8: float
    f9: float
    f10: float
    f11: float


class Score(msgspec.Struct):
    """What is answered."""

    probability: float
    version: str


ASKED = Features("request-000001", *(0.1234567 * (number + 1) for number in range(12)))
ARRAY = numpy.arange(262_144, dtype=numpy.float32)  # 1 MiB
TOTAL = float(ARRAY.sum())


def score(features: Features) -> Score:
    """Return an answer that depends on the question."""
    return Score(features.f0 + features.f11, "v1")


def total(buffer: object) -> float:
    """Return the sum of an array of float32, so that every byte of it is read."""
    return float(numpy.frombuffer(buffer, dtype=numpy.float32).sum())


Call = Callable[[], Awaitable[object]]


async def _lone(call: Call, seconds: float) -> dict[str, float]:
    times: list[float] = []
    start = last = perf_counter()
    while last - start < seconds:
        await call()
        now = perf_counter()
        times.append(now - last)
        last = now
    return {"calls": len(times), "failed": 0, "seconds": last - start, "p50_us": median(times) * 1e6}


async def _many(call: Call, seconds: float) -> dict[str, float]:
    done = failed = 0
    start = perf_counter()

    async def caller() -> None:
        nonlocal done, failed
        while perf_counter() - start < seconds:
            try:
                await call()
                done += 1
            except Exception:  # some peers drop calls at this load: that is a finding, not the end
                failed += 1
                await asyncio.sleep(0.001)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return {"calls": done, "failed": failed, "seconds": perf_counter() - start, "p50_us": 0.0}


async def measured(line: str, small: Call, large: Call) -> dict[str, float]:
    """Return what one command measured: calls, failed, seconds, and the median time of a lone call."""
    what, seconds = line.split()
    if what == "many":
        return await _many(small, float(seconds))
    return await _lone(small if what == "lone" else large, float(seconds))


async def answered(small: Call, large: Call) -> None:
    """Measure for each line that comes in, until there are no more. The first calls are made sure to be right."""
    first = await small()
    assert first == score(ASKED), first
    assert await large() == TOTAL
    print(json.dumps({"ready": True}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await measured(line, small, large)), flush=True)


@contextlib.contextmanager
def callee(*arguments: str) -> Iterator[str]:
    """Run the other side, and give the line that it prints once it listens; it ends with us."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()
