"""Rounds: arms measured in turn, A B C A B C, so that what else the machine does falls on all of them alike.

CPU time of this process, because the machine may be shared. It draws no conclusion beyond `ok` and `over`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time

from rich.console import Console
from rich.table import Table

Work = Callable[[int], Awaitable[int]]  # given the round's number, returns how many units of work were done


@dataclass(frozen=True, slots=True)
class Row:
    """One figure with what it was compared to and the limit that it has to keep."""

    name: str
    unit: str
    samples: tuple[float, ...]
    base: tuple[float, ...] = ()  # of the same rounds
    limit: float | None = None
    limited: str = "value"  # what the limit binds: "value", "ratio" or "over" the base

    @property
    def bound(self) -> float:
        """Return the figure that the limit binds: of each round its own, then the median."""
        pairs = list(zip(self.samples, self.base, strict=True)) if self.base else []
        if self.limited == "ratio":
            return median(own / other for own, other in pairs)
        if self.limited == "over":
            return median(own - other for own, other in pairs)
        return median(self.samples)

    @property
    def verdict(self) -> str:
        """Return "ok", "over", or "" without a limit."""
        return "" if self.limit is None else "ok" if self.bound <= self.limit else "over"


async def measured(arms: Mapping[str, Work], rounds: int) -> dict[str, tuple[float, ...]]:
    """Return microseconds of CPU per unit of work for each arm, one figure a round; every round runs all arms.

    Each round begins with another arm, so that none always runs in the wake of the same one.
    """
    found: dict[str, list[float]] = {name: [] for name in arms}
    names = list(arms)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = process_time()
            units = await arms[name](turn)
            found[name].append((process_time() - start) / units * 1e6)
    return {name: tuple(samples) for name, samples in found.items()}


def machine() -> str:
    """Return one line on where this ran and how busy it was."""
    model = platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.is_file():
        names = [
            line.partition(":")[2].strip()
            for line in cpus.read_text("utf-8").splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return f"{model}, {os.cpu_count()} CPUs, {system}, Python {platform.python_version()}, {load}"


def show(title: str, rows: Iterable[Row], notes: Iterable[str] = ()) -> None:
    """Print a table: median, least and most of each row, what it is compared with, and its limit."""
    table = Table(title=title, title_justify="left")
    for heading in ("", "unit", "median", "min-max", "over base", "ratio", "limit", ""):
        table.add_column(heading, justify="left" if heading in ("", "unit") else "right")
    for row in rows:
        gap = f"{median(a - b for a, b in zip(row.samples, row.base, strict=True)):+.2f}" if row.base else ""
        ratio = (
            f"{median(a / b for a, b in zip(row.samples, row.base, strict=True)):.2f}x" if row.base else ""
        )
        sign = {"value": "", "ratio": "x", "over": " over"}[row.limited]
        limit = "" if row.limit is None else f"{row.limit:g}{sign}"
        spread = f"{min(row.samples):.2f}-{max(row.samples):.2f}"
        table.add_row(
            row.name, row.unit, f"{median(row.samples):.2f}", spread, gap, ratio, limit, row.verdict
        )
    console = Console(width=120)
    console.print(table)
    for note in (*notes, machine()):
        console.print(note, highlight=False, soft_wrap=True)
