"""`make bench-hops`: what a call between two processes costs, by our frames and by what else people use.

All arms are started once, each as a tree of processes of its own, and measured in turn, round by round. A figure of
processor time counts the whole tree: both sides, and whatever helpers a peer keeps. The limits are those of the
project's issue 3; a peer that cannot be installed here is left out, and said to be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.rounds import machine

ROOT = Path(__file__).resolve().parent.parent
ROUNDS, SECONDS = 7, 0.8
KINDS = ("many", "lone", "array")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to call; `least` says how many times dearer or slower than a component's it should be, by kind."""

    name: str
    module: str
    given: tuple[str, ...] = ()
    place: str = ""  # its environment under build/peers; "" is ours
    least: dict[str, float] = field(default_factory=dict)


ARMS = (
    Arm("a component, microservices", "component"),
    Arm("frames, unix socket", "frames", ("unix",)),
    Arm("frames, TCP", "frames", ("tcp",)),
    Arm("frames, TCP, mutual TLS", "frames", ("tls",)),
    Arm("grpcio aio", "grpc", (), "grpc", {"many": 10, "lone": 4, "array": 8}),
    Arm("aiohttp, Starlette", "web", ("starlette",), "web", {"many": 6}),
    Arm("aiohttp, bare ASGI", "web", ("bare",), "web", {"many": 6}),
    Arm("Ray Serve handle", "ray", (), "ray", {"lone": 8}),
    Arm("BentoML depends", "bento", (), "bento", {"lone": 20}),
)
OWN_LIMIT_US = 20.0  # of processor time, both sides, at 64 callers


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round of one kind found."""

    cpu_us: float  # per call, all processes
    p50_us: float
    per_second: float
    failed: int


def interpreter(place: str) -> Path:
    """Return the interpreter of a peer's environment, made when it is missing; RuntimeError when it cannot be."""
    if not place:
        return Path(sys.executable)
    folder = ROOT / "build" / "peers" / place
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = (ROOT / "benchmarks" / "peers" / f"{place}.txt").read_text("utf-8")
    if not stamp.is_file() or stamp.read_text("utf-8") != wanted:
        print(f"setting up {folder.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        wanted_from = ["-r", "/dev/stdin"]
        made = subprocess.run(
            [*install, *wanted_from], input=wanted, text=True, stderr=subprocess.PIPE, check=False
        )
        if made.returncode:
            raise RuntimeError((made.stderr.strip().splitlines() or ["pip failed"])[-1])
        stamp.write_text(wanted, "utf-8")
    return python


class Running:
    """An arm whose processes run."""

    def __init__(self, arm: Arm) -> None:
        """Start it, and wait until it has answered its first calls rightly; RuntimeError when it does not."""
        self.arm = arm
        logs = ROOT / "build" / "peers"
        logs.mkdir(parents=True, exist_ok=True)
        self.log = logs / f"{'-'.join((arm.module, *arm.given))}.log"
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0",
        }  # fmt: skip
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [interpreter(arm.place), "-m", f"benchmarks.peers.{arm.module}", *arm.given],
                cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        if not self._line().get("ready"):
            raise RuntimeError(f"it did not start: see {self.log.relative_to(ROOT)}")

    def _line(self) -> dict[str, float]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # peers print what they please in between
                found: dict[str, float] = json.loads(line)
                return found
        return {}

    def ask(self, kind: str, seconds: float) -> tuple[dict[str, float], float]:
        """Return what one round finds, and the processor time that it took; RuntimeError when the arm has ended."""
        assert self.process.stdin is not None
        before = cpu_s(self.process.pid)
        self.process.stdin.write(f"{kind} {seconds}\n")
        self.process.stdin.flush()
        found = self._line()
        spent = cpu_s(self.process.pid) - before
        if not found:
            raise RuntimeError(f"it ended while measuring: see {self.log.relative_to(ROOT)}")
        return found, spent

    def measure(self, kind: str, seconds: float) -> Sample:
        """Return what one round finds."""
        found, spent = self.ask(kind, seconds)
        calls = max(found["calls"], 1)
        return Sample(spent / calls * 1e6, found["p50_us"], calls / found["seconds"], int(found["failed"]))

    def stop(self) -> None:
        """End it with all that it has started."""
        family = tree(self.process.pid)
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for pid in family:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return []


def tree(root: int) -> list[int]:
    """Return the process and all that came of it and still run."""
    parents = {
        int(name): found for name in os.listdir("/proc") if name.isdigit() and (found := _stat(int(name)))
    }
    family = [root]
    for pid in family:
        family += [child for child, found in parents.items() if int(found[1]) == pid]
    return family


def cpu_s(root: int) -> float:
    """Return the processor time of a tree of processes so far, those included that have ended and were waited for."""
    return sum(sum(map(int, found[11:15])) for pid in tree(root) if (found := _stat(pid))) / TICKS


def started(arms: Iterable[Arm]) -> tuple[list[Running], list[str]]:
    """Return the arms that run, and why others do not."""
    running, absent = [], []
    for arm in arms:
        try:
            running.append(Running(arm))
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            absent.append(f"left out: {arm.name}: {error}")
    return running, absent


def rounds(running: list[Running]) -> dict[tuple[str, str], list[Sample]]:
    """Return the samples by arm and kind; each round begins with another arm, the first is not counted."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for turn in range(ROUNDS + 1):
        for kind in KINDS:
            for each in [*running[turn % len(running) :], *running[: turn % len(running)]]:
                sample = each.measure(kind, SECONDS)
                if turn:
                    found.setdefault((each.arm.name, kind), []).append(sample)
    return found


def shown(kind: str, arms: list[Arm], found: dict[tuple[str, str], list[Sample]]) -> Table:
    """Return the table of one kind of call: its figure is processor time under load, else the time of a call."""
    titles = {
        "many": "64 callers at once: 12 floats and an id in, a float and a text out",
        "lone": "A lone caller, one call after the other",
        "array": "A lone caller with 1 MiB of float32, all of it read by the other side",
    }
    table = Table(title=titles[kind], title_justify="left")
    for heading in ("", "CPU us", "min-max", "p50 us", "calls/s", "failed", "times ours", "limit", ""):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)

    def figures(arm: Arm) -> list[float]:
        return [each.cpu_us if kind == "many" else each.p50_us for each in found[arm.name, kind]]

    ours = figures(arms[0]) if not arms[0].place else []
    for arm in arms:
        samples = found[arm.name, kind]
        cpu = [each.cpu_us for each in samples]
        times = median(a / b for a, b in zip(figures(arm), ours, strict=True)) if ours else 0.0
        least = arm.least.get(kind)
        limit, verdict = "", ""
        if least is not None and ours:
            limit, verdict = f">= {least:g}x", "ok" if times >= least else "under"
        elif kind == "many" and not arm.place and arm.given != ("tls",):
            limit, verdict = f"<= {OWN_LIMIT_US:g} us", "ok" if median(cpu) <= OWN_LIMIT_US else "over"
        p50 = median(each.p50_us for each in samples)
        table.add_row(
            arm.name, f"{median(cpu):,.1f}", f"{min(cpu):,.0f}-{max(cpu):,.0f}", f"{p50:,.0f}" if p50 else "",
            f"{median(each.per_second for each in samples):,.0f}", f"{sum(each.failed for each in samples):,}",
            f"{times:.1f}x" if times else "", limit, verdict,
        )  # fmt: skip
    return table


def main(wanted: list[str]) -> None:
    """Measure the arms whose module is named, all when none is, and print."""
    if not Path("/proc/self/stat").exists():
        sys.exit("bench-hops reads the processor time of other processes from /proc, which only Linux has")
    modules = {arm.module for arm in ARMS}
    if unknown := set(wanted) - modules:
        sys.exit(f"no such arm: {', '.join(sorted(unknown))}; there are {', '.join(sorted(modules))}")
    running, absent = started(arm for arm in ARMS if not wanted or not arm.place or arm.module in wanted)
    try:
        found = rounds(running)
    finally:
        for each in running:
            each.stop()
    console = Console(width=120)
    for kind in KINDS:
        console.print(shown(kind, [each.arm for each in running], found))
    notes = [
        "a component: peer authentication, deadline, trace, limits and counters on; the base of `times ours`",
        "frames, the transport alone: peer authentication, deadline, trace header and counters on",
        "peers: deadline and trace header on; no TLS and no authentication; aiohttp calls uvicorn",
        "CPU us: of a call, both sides together; times ours: in CPU at 64 callers, in p50 with a lone one",
        *absent,
        machine(),
    ]
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main(sys.argv[1:])
