"""`make bench-shares`: where the time of a payment in the monolith goes, by the part of the code that spends it.

A profile, not a measurement: what is called often looks dearer than it is, so only the shares are shown.
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
from collections import Counter
from pathlib import Path

import uvloop

from benchmarks import payments

PARTS = {
    "the model": ("onnxruntime",),
    "the app: features, rules, handlers": ("examples/fraud",),
    "views": ("kernel/views", "features/aggregates"),
    "values: checked when they are made": ("kernel/messages", "kernel/exactness"),
    "doors: limits, types, counters, context": ("runtime/doors",),
    "effects: attempt, tape, rows, events": (
        "runtime/effects",
        "kernel/calls",
        "kernel/tables",
        "kernel/operations",
    ),
    "flows and host: origin, order, routes": (
        "runtime/flows",
        "runtime/host",
        "runtime/routes",
        "runtime/options",
    ),
    "log and ledger in memory": ("logs/memory", "stores/memory", "storage/ports"),
    "traces and recent decisions": ("runtime/tracing", "runtime/telemetry"),
}


async def main() -> None:
    """Profile one day of payments, and print the shares."""
    with tempfile.TemporaryDirectory() as folder:
        arms = payments.Arms(Path(folder), 2)
        arms.hosts = {"monolith": arms.hosts["monolith"]}
        await arms.start()
        host, profile = arms.hosts["monolith"], cProfile.Profile()
        for labels, paid in arms.days:  # the first warms up
            await payments.sent(host, labels)
            profile.clear()
            profile.enable()
            await payments.sent(host, paid)
            profile.disable()
        await arms.close()
    shares = shared(pstats.Stats(profile))
    total = sum(shares.values())
    for part, seconds in shares.most_common():
        print(f"{seconds / total:6.1%}  {part}")


def shared(stats: pstats.Stats) -> Counter[str]:
    """Return the seconds of each part; what is built in counts for whoever calls it."""
    spent: Counter[str] = Counter()
    for (file, _, name), (_, _, own, _, callers) in stats.stats.items():  # type: ignore[attr-defined]  # not in its stub
        if file != "~" or not callers:
            spent[part_of(f"{file}{name}")] += own
        else:
            for (above, *_), figures in callers.items():
                spent[part_of(name) if "onnx" in name else part_of(above)] += figures[2]
    return spent


def part_of(place: str) -> str:
    """Return the part that a file or a built-in function belongs to."""
    return next((part for part, marks in PARTS.items() if any(mark in place for mark in marks)), "the rest")


if __name__ == "__main__":
    uvloop.run(main())
