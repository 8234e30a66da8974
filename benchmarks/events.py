"""`make bench-events`: from publishing to committed effect on one node, beside FastStream on NATS and on Redis.

Every arm is one process that publishes and takes events of about 300 bytes; where its log is on a server, that runs
beside it and its processor time counts. All are started once and measured in turn, round by round. The aims are those
of the project's issue 4; a peer that cannot be had here is left out, and said to be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.hops import Arm, Running, started
from benchmarks.peers.streams import AT_ONCE, KEYS
from benchmarks.rounds import machine

ROUNDS, SECONDS = 7, 1.0
KINDS = ("stored", "single", "effect", "lone")
EMBEDDED, SYNCED = "Allotrope, embedded log", "Allotrope, embedded log, synced"
BASE = "FastStream, NATS JetStream"
ARMS = (
    Arm(EMBEDDED, "published", ("sqlite", "process")),
    Arm(SYNCED, "published", ("sqlite", "power")),
    Arm("Allotrope, log in NATS", "published", ("nats", "process")),
    Arm("Allotrope, log in Redis", "published", ("redis", "process")),
    Arm(BASE, "subscriber", ("nats",), "faststream"),
    Arm("FastStream, Redis Streams", "subscriber", ("redis",), "faststream"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round of one kind found."""

    per_second: float
    cpu_s: float  # per 10,000 events, all processes
    p50_ms: float
    p99_ms: float


Found = Mapping[tuple[str, str], list[Sample]]  # by arm and kind


@dataclass(frozen=True, slots=True)
class Aim:
    """What an arm should reach, alone or against another one of the same round."""

    text: str
    arm: str
    kind: str
    figure: Callable[[Sample], float]
    least: float = 0.0
    most: float = float("inf")
    base: str = ""

    def row(self, found: Found) -> tuple[str, str, str] | None:
        """Return the aim, the median and the verdict; None when an arm of it is left out."""
        own = found.get((self.arm, self.kind), [])
        values = [self.figure(sample) for sample in own]
        if self.base:
            pairs = zip(values, found.get((self.base, self.kind), []), strict=False)
            values = [value / self.figure(other) for value, other in pairs]
        if not values:
            return None
        reached = median(values)
        return self.text, f"{reached:,.1f}", "ok" if self.least <= reached <= self.most else "missed"


def _rate(sample: Sample) -> float:
    return sample.per_second


AIMS = (
    Aim("published, times FastStream on NATS: at least 3", EMBEDDED, "stored", _rate, least=3, base=BASE),
    Aim("to effect, times FastStream on NATS: at least 5", EMBEDDED, "effect", _rate, least=5, base=BASE),
    Aim("a lone event to its effect, p50 ms: at most 2", EMBEDDED, "lone", lambda s: s.p50_ms, most=2),
    Aim("published per second in batches, synced: at least 20,000", SYNCED, "stored", _rate, least=20_000),
)


def sampled(each: Running, kind: str) -> Sample:
    """Return what one round of one arm finds."""
    found, spent = each.ask(kind, SECONDS)
    calls = max(found["calls"], 1)
    times = found.get("p50_us", 0.0) / 1e3, found.get("p99_us", 0.0) / 1e3
    return Sample(calls / found["seconds"], spent / calls * 10_000, *times)


def rounds(running: list[Running]) -> Found:
    """Return the samples; each round begins with another arm, the first is not counted."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for turn in range(ROUNDS + 1):
        for kind in KINDS:
            for each in [*running[turn % len(running) :], *running[: turn % len(running)]]:
                sample = sampled(each, kind)
                if turn:
                    found.setdefault((each.arm.name, kind), []).append(sample)
    return found


def shown(arms: list[Arm], found: Found) -> Table:
    """Return the table of all arms: medians, and of the rate to effect the least and the most."""
    title = f"Events of 300 bytes, {KEYS:,} keys; {AT_ONCE} on their way at once, or one after the other"
    table = Table(title=title, title_justify="left")
    headings = (
        "", "durability", "published/s", "CPU-s", "one by one/s", "to effect/s", "min-max", "CPU-s", "p50 ms", "p99 ms",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("", "durability") else "right", no_wrap=True)
    for arm in arms:
        stored, single, effect, lone = (found[arm.name, kind] for kind in KINDS)
        rates = [sample.per_second for sample in effect]
        level = "power" if "power" in arm.given else "process"
        table.add_row(
            arm.name, level, f"{_middle(stored):,.0f}", f"{median(s.cpu_s for s in stored):.2f}",
            f"{_middle(single):,.0f}", f"{median(rates):,.0f}", f"{min(rates):,.0f}-{max(rates):,.0f}",
            f"{median(s.cpu_s for s in effect):.2f}",
            f"{median(s.p50_ms for s in lone):.2f}", f"{median(s.p99_ms for s in lone):.2f}",
        )  # fmt: skip
    return table


def _middle(samples: list[Sample]) -> float:
    return median(sample.per_second for sample in samples)


def main() -> None:
    """Measure and print."""
    if not Path("/proc/self/stat").exists():
        sys.exit("bench-events reads the processor time of other processes from /proc, which only Linux has")
    running, absent = started(ARMS)
    try:
        found = rounds(running)
    finally:
        for each in running:
            each.stop()
    console = Console(width=150)
    console.print(shown([each.arm for each in running], found))
    table = Table(title="Aims", title_justify="left")
    for heading in ("", "median", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for aim in AIMS:
        if (row := aim.row(found)) is not None:
            table.add_row(*row)
    console.print(table)
    notes = [
        "embedded against a server: an embedded log has no hop to a server, and none to share it with other nodes",
        "published: kept, and nobody takes it; to effect: until a row of the last one is committed; CPU-s: of 10,000"
        " such events, all processes, the server among them; p50, p99: a lone event, from publishing to effect",
        "durability process: a kill undoes nothing that was acknowledged; power: nor does a power cut. NATS answers"
        " before it syncs, Redis syncs once a second",
        "Allotrope: types checked, request ids, order of each key, effect and inbox and decision record in one commit;"
        " FastStream: a pydantic model, a row in SQLite per event, acknowledged after its commit",
        *absent,
        machine(),
    ]
    for note in notes:
        console.print(note, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
