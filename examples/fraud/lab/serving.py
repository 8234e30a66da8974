"""Feeds one live app and measures it: how fast payments are decided, how long each takes, what was decided.

It chooses no days and prints nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from allotrope import Refused, compose
from allotrope.kernel.views import micros
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from allotrope.storage.locks import Lock
from examples.fraud import app
from examples.fraud.decisions import Decision, Decisions
from examples.fraud.events import Promoted, Submitted
from examples.fraud.lab.stream import Arrival
from examples.fraud.models import MODEL

TOPOLOGY = "topology.toml"
MARK = "# Made by `python -m examples.fraud`, which empties this folder when it is run again."
LEFT = (".db", ".db-wal", ".db-shm", ".db-journal", compose.CONTRACT)
IN_FLIGHT = 16
TRACED = 220.0  # euros; terminals ask for a trace of what is above
ALONE = 1000  # inputs of the first day sent one at a time, for the latency without a queue

Watch = Callable[[int], None]  # told how many more inputs are through


@dataclass(slots=True)
class Tally:
    """What sending has cost: times in seconds, of the wall clock and of the CPU of all processes.

    `latency_s` is from publishing a payment until its last effect is committed; `origins` tells the place of
    each payment in the log, `traced` which payments were surely traced.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    latency_s: list[float] = field(default_factory=list)
    origins: dict[str, int] = field(default_factory=dict)
    traced: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Return payments decided per second."""
        return len(self.latency_s) / self.wall_s if self.wall_s else 0.0

    @property
    def cpu_us(self) -> float:
        """Return microseconds of CPU per payment, labels and ticks between them included."""
        return 1e6 * self.cpu_s / max(1, len(self.latency_s))

    def quantile_ms(self, share: float) -> float:
        """Return the latency that this share of the payments did not exceed, in milliseconds."""
        ranked = sorted(self.latency_s)
        return 1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def emptied(folder: Path, *, keep: bool, say: Callable[[str], None]) -> None:
    """Make `folder` ready for a run: what an earlier one left there is deleted, or kept beside it.

    What is about to happen is told to `say`. Raises Refused while that run is alive, when the folder holds
    anything that no run has left, and when it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        left = [path for path in folder.iterdir() if path.suffix != ".lock"]
        if (strange := next((path for path in left if not _ours(path)), None)) is not None:
            text = f"{folder}: holds `{strange.name}`, which no earlier run has left"
            raise Refused(f"{text}; nothing was touched, name another --folder")
        locks = [Lock(path.with_suffix(".db")) for path in folder.glob("*.lock")]
        if left:
            then = datetime.fromtimestamp((folder / TOPOLOGY).stat().st_mtime, UTC)
            what = f"what the run of {then:%Y-%m-%d %H:%M} UTC left in {folder}"
            aside = _beside(folder)
            say(
                f"{what} moves to {aside}"
                if keep
                else f"{what} is deleted; with --keep it would move to {aside}"
            )
        if keep and left:
            folder.rename(_beside(folder))
            folder.mkdir()
        else:
            _delete(left, locks)
        for lock in locks:
            lock.release()
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror}; name a folder that can be written") from error


def _ours(path: Path) -> bool:
    file = path.with_name(TOPOLOGY)
    if path.name == "models" or path.name.endswith(LEFT):
        return file.is_file()
    # Any app may have a topology file: only one with our mark says that the folder is ours.
    return path == file and file.read_text("utf-8", "replace").startswith(MARK)


def _delete(left: list[Path], locks: list[Lock]) -> None:
    # The mark of a run goes last: should this be cut short, the next run still knows the folder for ours.
    for path in sorted(left, key=lambda path: path.name == TOPOLOGY):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for lock in locks:
        lock.mark("")  # else a store would miss the file that it had written


def _beside(folder: Path) -> Path:
    names = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
    return next(path for path in names if not path.exists())


def topology(preset: str, folder: Path, models: Path) -> Path:
    """Write and return the topology file of a run: a preset, and where this run keeps its models."""
    file = folder / TOPOLOGY
    place = json.dumps(str(models), ensure_ascii=False)  # a string of JSON is one of TOML
    file.write_text(f'{MARK}\nbase = "{preset}"\n\n[setting]\n"Models.folder" = {place}\n', "utf-8")
    return file


def opened(file: Path) -> Host:
    """Return a host of the app under a topology file, its state beside it; ticks come in the stream."""
    options = Options(ticks=False, sinks=compose.sinks(app, file.parent))
    return compose.build(app, str(file), file.parent, options)


async def send(host: Host, arrivals: Iterator[Arrival], tally: Tally, watch: Watch, width: int) -> None:
    """Feed all arrivals in order, at most `width` at once; return when all have had their effects."""

    async def worker() -> None:
        for arrival in arrivals:
            await _sent(host, arrival, tally)
            watch(1)

    wall, cpu = time.perf_counter(), cpu_s()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(worker())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    tally.wall_s += time.perf_counter() - wall
    tally.cpu_s += cpu_s() - cpu


async def _sent(host: Host, arrival: Arrival, tally: Tally) -> None:
    if arrival.event is None:
        await host.tick("Desk.sweep", micros(arrival.at))
        return
    event, trace = arrival.event, ""
    if isinstance(event, Submitted) and event.amount >= TRACED:
        trace = _traceparent(arrival.request)
        tally.traced.append(event.id)
    start = time.perf_counter()
    origin = await host.publish(event, Input(request=arrival.request, at=arrival.at, traceparent=trace))
    await host.settled(origin)
    if isinstance(event, Submitted):
        tally.latency_s.append(time.perf_counter() - start)
        tally.origins[event.id] = origin


def _traceparent(request: str) -> str:
    """Return the W3C header of a terminal that wants this payment traced."""
    digest = hashlib.sha256(request.encode()).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"


async def send_first(host: Host, arrivals: list[Arrival], watch: Watch) -> tuple[Tally, Tally]:
    """Feed a day: a few payments one at a time, the others side by side. Return what each kind has cost."""
    alone, beside, queue = Tally(), Tally(), iter(arrivals)
    await send(host, islice(queue, min(ALONE, len(arrivals) // 4)), alone, watch, 1)
    await send(host, queue, beside, watch, IN_FLIGHT)
    return alone, beside


async def promote(host: Host, model: tuple[str, str], arrival: Arrival) -> None:
    """Let a model, given by version and digest, decide from this arrival on."""
    await host.publish(Promoted(MODEL, *model), Input(at=arrival.at))
    await host.settled()


async def decided(host: Host, ids: list[str]) -> dict[str, Decision]:
    """Return what was decided on each payment."""
    decisions = host.of(Decisions)
    found = {payment: await decisions.of(payment) for payment in ids}
    return {payment: decision for payment, decision in found.items() if decision is not None}


def cpu_s() -> float:
    """Return the CPU seconds of this process and, where the system tells, of those below it that still run."""
    ticks = sum(int(field) for fields in _below().values() for field in fields[11:13])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def memory_mb() -> float:
    """Return the memory that this process and those below it hold now, what they share counted once.

    Where the system does not say, it is the most that this one ever held.
    """
    try:
        return sum(_held_kb(pid) for pid in ("self", *_below())) / 2**10
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / 2**20 if sys.platform == "darwin" else most / 2**10


def _held_kb(pid: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _below() -> dict[str, list[str]]:
    """Return the processes that this one has started, and those that they have, with what /proc/PID/stat says."""
    every: dict[str, list[str]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            every[file.parent.name] = file.read_text("utf-8", "replace").rpartition(")")[2].split()
    found: dict[str, list[str]] = {}
    known = {str(os.getpid())}
    while fresh := {pid for pid, fields in every.items() if fields[1] in known and pid not in found}:
        found |= {pid: every[pid] for pid in fresh}
        known = fresh
    return found
