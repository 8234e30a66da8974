"""`make bench-gateway`: a typed POST through the gateway beside FastAPI with the same checks, and what overload does.

Both run under uvicorn in a process of their own; a caller elsewhere keeps 32 connections busy, and the processor time
of the server alone is read from outside. Then a component that can serve 200 a second is asked 2,000 times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from typing import cast

import uvloop

from allotrope import App, Message, component, compose, query
from allotrope.compose.gates import CALLERS, gate
from allotrope.gateway.access.keys import made
from allotrope.gateway.server import Server, bound
from allotrope.runtime.options import Options
from allotrope.runtime.tracing import Tracer
from benchmarks.forms import ASKED, Features, Score
from benchmarks.rounds import Row, show

ROOT = Path(__file__).resolve().parent.parent
PEER = ROOT / "build" / "peers" / "fastapi"
ROUNDS, REQUESTS, CONNECTIONS = 7, 6_000, 32
CAPACITY, SECONDS = 200, 6.0
BODY = {"features": {name: getattr(ASKED, name) for name in ASKED.__struct_fields__}}
TOPOLOGY = """
base = "monolith"
[gateway.caller]
rate = 1000000.0
burst = 1000000
[gateway.tenant."*"]
rate = 1000000.0
burst = 1000000
"""
SMALL = TOPOLOGY + "[gateway]\ninflight = 4\nqueue = 4\n"


class Word(Message):
    """What the slow component answers."""

    text: str


@component
class Model:
    """Answers at once, or after the time that a model takes."""

    @query
    async def predict(self, features: Features) -> Score:
        """Return a score."""
        return Score(features.f0 + features.f11, "v1")

    @query
    async def slow(self) -> Word:
        """Return after 20 ms: four at once make 200 a second."""
        await asyncio.sleep(0.02)
        return Word("done")


app = App("gateway", Model)


async def serve(port: int, folder: Path) -> None:
    """Serve the app: the other process of this benchmark."""
    tracer = Tracer()
    host = compose.build(app, str(folder / "layout.toml"), folder, Options(tracer=tracer))
    front = gate(host, folder, tracer)
    await host.start()
    server = Server(front, bound("127.0.0.1", port, front.settings, closed=True))
    await server.run_until(asyncio.Event())


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """Run a server, and give its process number once it answers."""
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
                    break
                time.sleep(0.05)
            yield process.pid
        finally:
            process.kill()


def cpu_s(pid: int) -> float:
    """Return the processor seconds that a process has used; those of its threads are in it."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def request(path: str, key: str, body: bytes) -> bytes:
    """Return a request as bytes."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n"
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\nx-request-id: r-1\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Caller(asyncio.Protocol):
    """One connection that sends a request and waits for its answer."""

    def __init__(self) -> None:
        """Begin with nothing sent."""
        self.transport: asyncio.Transport
        self.data = b""
        self.answered: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        """Complete the answer when all of it is here."""
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length and self.answered is not None and not self.answered.done():
            self.data = b""
            self.answered.set_result(int(head[9:12]))

    def ask(self, data: bytes) -> asyncio.Future[int]:
        """Send a request; the answer's status comes."""
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self.answered


async def callers(port: int, count: int) -> list[Caller]:
    """Return open connections."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Caller, "127.0.0.1", port))[1] for _ in range(count)]


async def load(port: int, data: bytes, total: int) -> None:
    """Ask `total` times over all connections, each as soon as it has its answer."""
    left = total

    async def work(caller: Caller) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            status = await caller.ask(data)
            assert status == 200, status

    opened = await callers(port, CONNECTIONS)
    await asyncio.gather(*map(work, opened))
    for caller in opened:
        caller.transport.close()


async def offered(port: int, data: bytes, rate: int, seconds: float) -> dict[int, list[float]]:
    """Ask `rate` times a second whatever comes back, and return the times in ms by status, from when each was due."""
    loop = asyncio.get_running_loop()
    free = await callers(port, 400)
    found: dict[int, list[float]] = {}
    tasks: set[asyncio.Task[None]] = set()
    begun = loop.time()

    async def ask(caller: Caller, due: float) -> None:
        status = await caller.ask(data)
        found.setdefault(status, []).append((loop.time() - due) * 1e3)
        free.append(caller)

    for number in range(int(rate * seconds)):
        due = begun + number / rate
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        if not free:  # the server has not answered 400 of them
            found.setdefault(0, []).append(0.0)
            continue
        task = asyncio.create_task(ask(free.pop(), due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return found


def peer() -> str:
    """Return the interpreter of FastAPI's own environment, made when it is missing."""
    python = PEER / "bin" / "python"
    if not python.exists():
        print("Setting up FastAPI in an environment of its own, once.")
        venv.create(PEER, with_pip=True)
        wanted = str(ROOT / "benchmarks" / "peers" / "fastapi.txt")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", wanted], check=True)
    return str(python)


def free_port() -> int:
    """Return a port that nobody uses just now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def compared(folder: Path, key: str) -> list[Row]:
    """Return the rows on one POST, ours and FastAPI's, in turn."""
    import msgspec

    ports = free_port(), free_port()
    data = request("/Model/predict", key, msgspec.json.encode(BODY))
    ours = [sys.executable, "-m", "benchmarks.gateway", str(ports[0]), str(folder)]
    theirs = [peer(), str(ROOT / "benchmarks" / "peers" / "fast.py"), str(ports[1]), key]
    found: dict[str, list[float]] = {"ours": [], "theirs": []}
    with running(ours, ports[0]) as one, running(theirs, ports[1]) as other:
        arms = [("ours", one, ports[0]), ("theirs", other, ports[1])]
        for turn in range(ROUNDS + 1):
            for name, pid, port in arms if turn % 2 else arms[::-1]:
                before = cpu_s(pid)
                uvloop.run(load(port, data, REQUESTS))
                if turn:  # the first round warms up
                    found[name].append((cpu_s(pid) - before) / REQUESTS * 1e6)
    theirs_us = tuple(found["theirs"])
    return [
        Row("FastAPI, the same checks", "us", theirs_us),
        Row("gateway", "us", tuple(found["ours"]), theirs_us, 0.5, "ratio"),
    ]


def overloaded(folder: Path, key: str) -> tuple[list[Row], list[str]]:
    """Return the rows on a component that is asked at 0.8 and at 10 times what it can serve."""
    port = free_port()
    (folder / "layout.toml").write_text(SMALL, "utf-8")
    data = request("/Model/slow", key, b"{}")
    with running([sys.executable, "-m", "benchmarks.gateway", str(port), str(folder)], port) as pid:
        uvloop.run(offered(port, data, CAPACITY // 2, 1.0))
        calm = uvloop.run(offered(port, data, CAPACITY * 8 // 10, SECONDS))
        before = memory_mb(pid)
        storm = uvloop.run(offered(port, data, CAPACITY * 10, SECONDS))
        grown = memory_mb(pid) - before
    base, pressed = p99(calm[200]), p99(storm[200])
    refused = p99(storm.get(503, [0.0]))
    rows = [
        Row("p99 of what is accepted, at 0.8 of its capacity", "ms", (base,)),
        Row("p99 of what is accepted, at 10 times its capacity", "ms", (pressed,), (base,), 3.0, "ratio"),
        Row("p99 of a refusal", "ms", (refused,)),
        Row("memory that the storm added", "MiB", (grown,), limit=32.0),
    ]
    counts = Counter({status: len(times) for status, times in storm.items()})
    said = ", ".join(f"{status or 'unanswered'} {count:,}" for status, count in sorted(counts.items()))
    return rows, [f"at 10 times: {sum(counts.values()):,} requests in {SECONDS:g} s, answered {said}"]


def p99(times: list[float]) -> float:
    """Return the time that one of a hundred exceeds."""
    return quantiles(times, n=100)[98] if len(times) > 1 else max(times, default=0.0)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "layout.toml").write_text(TOPOLOGY, "utf-8")
        key = made(folder / CALLERS, "bench", "", ("*",))
        title = "A typed POST: key, rate, trace and counters; 12 floats and an id in, a float and a text out"
        show(title, compared(folder, key))
        rows, notes = overloaded(folder, key)
        show("A component that serves 200 a second", rows, notes)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
    else:
        main()
