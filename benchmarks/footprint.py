"""What the framework takes before it does anything: the time of its import, the memory of an idle app, its size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_IMPORT = """
import time
start = time.process_time()
import allotrope
print(time.process_time() - start)
"""
_IDLE = """
import asyncio, pathlib, sys
from allotrope import compose

async def idle():
    host = compose.build(compose.load("examples.fraud"), compose.DEFAULT, pathlib.Path(sys.argv[1]))
    await host.start()
    await asyncio.sleep(0.5)
    for line in pathlib.Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS"):
            print(int(line.split()[1]) / 1024)
    await host.close()

asyncio.run(idle())
"""


def import_s(times: int) -> tuple[float, ...]:
    """Return CPU seconds of `import allotrope`, each in a process of its own; the first one only warms the files."""
    return tuple(_run(_IMPORT) for _ in range(times + 1))[1:]


def idle_mb(times: int, folder: Path) -> tuple[float, ...]:
    """Return the resident memory of the fraud app in the default preset, idle, in MiB; empty where /proc is missing."""
    if not Path("/proc/self/status").is_file():
        return ()
    return tuple(_run(_IDLE, str(folder / str(turn))) for turn in range(times))


def kernel_lines() -> int:
    """Return how many lines the kernel has."""
    files = (ROOT / "src" / "allotrope" / "kernel").glob("*.py")
    return sum(len(file.read_text("utf-8").splitlines()) for file in files)


def _run(code: str, *arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return float(done.stdout)
