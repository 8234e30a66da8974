"""What processes hold: memory, open files, threads, tasks. Seen from outside, and by the fleet's own list."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from allotrope.engines.processes.control import Seen, Sight, Way
from allotrope.kernel import codec

ROOT = Path(__file__).resolve().parents[2]
STILL_S, PATIENCE_S = 3.0, 45.0
TOPOLOGY = """
base = "microservices"
[gateway]
idle_s = 5.0
[gateway.caller]
rate = 1000000.0
burst = 1000000
[gateway.tenant."*"]
rate = 1000000.0
burst = 1000000
"""


@dataclass(frozen=True)
class Held:
    """What one process holds: MiB of its own and as its share of what several have, descriptors, threads, tasks."""

    rss: float
    pss: float
    files: int
    threads: int
    tasks: int | None = None


def held(pid: int, tasks: int | None) -> Held:
    """Return what a process holds now; `tasks` is what its fleet says."""
    place = Path(f"/proc/{pid}")
    lines = (place / "smaps_rollup").read_text("ascii").splitlines()[1:]
    sizes = {line.split()[0]: int(line.split()[1]) / 1024 for line in lines}
    return Held(
        sizes["Rss:"], sizes["Pss:"], len(os.listdir(place / "fd")), len(os.listdir(place / "task")), tasks
    )


def below(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in file.read_text("ascii").split():
            found += [int(child), *below(int(child))]
    return found


class Served:
    """The app as it is served, seen from outside."""

    def __init__(self, folder: Path) -> None:
        """Serve it from a folder, not yet."""
        self.folder, self.kept = folder, folder / "kept"
        self.port = 0
        self.process: asyncio.subprocess.Process

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve it meanwhile."""
        layout = self.folder / "soak.toml"
        layout.write_text(TOPOLOGY, "utf-8")
        command = (
            "serve",
            "benchmarks.soak.load",
            "-t",
            str(layout),
            "--folder",
            str(self.kept),
            "--port",
            "0",
        )
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "allotrope", *command, cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
        assert self.process.stderr is not None
        said = ""
        while not (found := re.search(r"serves +http://\S+:(\d+),", said)):
            line = await self.process.stderr.readline()
            if not line:
                sys.exit(f"it did not start: {said}")
            said += line.decode()
        self.port = int(found[1])
        reading = asyncio.create_task(self.process.stderr.read())
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGINT)
            await self.process.wait()
            await reading

    async def held(self) -> dict[str, Held]:
        """Return what each of its processes holds, by name."""
        raw = await asyncio.to_thread(Way(self.kept).ask, "list", timeout_s=10.0)
        sight: Sight = codec.decode(raw, Sight)
        known: dict[int, Seen] = {seen.pid: seen for seen in sight.processes}
        found = {}
        for pid in (self.process.pid, *below(self.process.pid)):
            seen = known.get(pid)
            name = seen.name if seen is not None else f"nursery ({pid})"
            with contextlib.suppress(OSError, IndexError):  # it has just ended
                found[name] = held(pid, seen.tasks if seen is not None else None)
        return found

    async def idle(self) -> dict[str, Held]:
        """Return what each holds once it does not change any more, or after a while in any case."""
        until, since = time.monotonic() + PATIENCE_S, time.monotonic()
        before = await self.held()
        while time.monotonic() < until and time.monotonic() - since < STILL_S:
            await asyncio.sleep(0.5)
            now = await self.held()
            if {n: (h.files, h.tasks) for n, h in now.items()} != {
                n: (h.files, h.tasks) for n, h in before.items()
            }:
                since = time.monotonic()
            before = now
        return before
