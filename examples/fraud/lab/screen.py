"""What a person sees of the demonstration: a line per phase, then tables; plain text without a terminal."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from examples.fraud.desk import Case
from examples.fraud.lab.trial import Figures

LABEL = 14  # columns that the name of a line takes


class Phase:
    """One step of the run, while it goes on."""

    def __init__(self, watch: Callable[[int], None]) -> None:
        """Tell `watch` of progress."""
        self.watch = watch
        self.result = ""  # what to say of it at the end


class Screen:
    """Prints to standard output, as wide as the terminal and at most 110 columns."""

    def __init__(self) -> None:
        """Look at what there is to print on."""
        self.console = Console(highlight=False)
        self.console.width = min(self.console.width, 110)

    @property
    def watched(self) -> bool:
        """Return whether a person looks on."""
        return self.console.is_terminal

    def title(self, text: str) -> None:
        """Print a headline."""
        self.console.print(Text(f"\n{text}", "bold"))

    def line(self, label: str, text: str) -> None:
        """Print one labelled line, folded under itself."""
        first, *rest = textwrap.wrap(text, self.console.width - LABEL) or [""]
        self.console.print(Text.assemble((f"  {label}".ljust(LABEL), "dim"), first))
        for more in rest:
            self.console.print(Text(" " * LABEL + more))

    @contextmanager
    def phase(self, label: str, doing: str, total: int | None = None) -> Iterator[Phase]:
        """Show a bar while the phase goes on, and its result with the seconds that it took."""
        start = time.perf_counter()
        columns = (
            TextColumn(f"  {label:{LABEL - 3}} {{task.description}}"),
            BarColumn(20),
            *(
                (MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
                if total
                else ()
            ),
        )
        bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=5)
        bar.disable = not self.watched
        with bar:
            task = bar.add_task(doing, total=total, rate="")
            phase = Phase(_every(256, lambda done: _move(bar, task, done, start)))
            yield phase
        self.line(label, f"{phase.result or doing} ({time.perf_counter() - start:.1f} s)")

    def verdicts(self, rows: Mapping[str, tuple[int, int]]) -> None:
        """Print (payments, frauds among them) per verdict."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column(" verdict")
        for name in ("payments", "frauds", "of all frauds"):
            table.add_column(name, justify="right")
        frauds = max(1, sum(count for _, count in rows.values()))
        for verdict, (payments, count) in rows.items():
            table.add_row(f" {verdict}", f"{payments:,}", f"{count:,}", f"{count / frauds:.0%}")
        self.console.print(table)

    def cases(self, cases: Sequence[Case], most: int = 3) -> None:
        """Print how many cases wait for a person, and those nearest to even odds."""
        first = ", ".join(f"{case.id} ({case.probability:.2f})" for case in cases[:most])
        self.line(
            "review", f"{len(cases):,} cases wait; least certain: {first}" if cases else "no case waits"
        )

    def presets(self, figures: Sequence[Figures]) -> int:
        """Print what each preset costs; the others are compared with the first. Return the differences."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        reference, differing = figures[0].answers, 0
        table.add_column(" preset", no_wrap=True)
        equal = f"equal of\n{len(reference):,}"
        for name in ("durable", "decisions\nper s", "CPU µs\neach", "p50\nms", "p99\nms", "MB", equal):
            table.add_column(name, justify="right", no_wrap=True)
        for one in figures:
            apart = unequal(reference, one.answers)
            differing += len(apart)
            same = Text(f"{len(reference) - len(apart):,}", "bold red" if apart else "green")
            table.add_row(
                f" {one.preset}", one.durability, f"{one.rate:,.0f}", f"{one.cpu_us:,.0f}",
                f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", f"{one.memory_mb:,.0f}",
                "reference" if one is figures[0] else same,
            )  # fmt: skip
        self.console.print(table)
        for one in figures[1:]:
            self._difference(reference, one)
        return differing

    def _difference(self, reference: Mapping[str, object], other: Figures) -> None:
        apart = unequal(reference, other.answers)
        if apart:
            here, there = reference.get(apart[0]), other.answers.get(apart[0])
            self.line("differs", f"payment {apart[0]}: {here} in the reference, {there} in {other.preset}")

    def commands(self, rows: Sequence[tuple[str, str]]) -> None:
        """Print commands to try, each below what it shows; never folded, so that they can be copied."""
        for says, command in rows:
            self.console.print(Text(f"  {says}", "dim"))
            self.console.print(Text(f"    {command}", "cyan"), soft_wrap=True)


def unequal(reference: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Return the payments whose answers differ in any bit, or that only one side has."""
    return sorted(key for key in {*reference, *other} if reference.get(key) != other.get(key))


def _every(step: int, show: Callable[[int], None]) -> Callable[[int], None]:
    """Return a function that adds up what it is told, and shows the sum once in `step`."""
    done = 0

    def watch(count: int) -> None:
        nonlocal done
        done += count
        if done % step < count:
            show(done)

    return watch


def _move(bar: Progress, task: TaskID, done: int, start: float) -> None:
    rate = done / (time.perf_counter() - start)
    bar.update(task, completed=done, rate=f"{rate:,.0f}/s")
