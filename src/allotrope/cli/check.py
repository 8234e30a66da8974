"""`allotrope check`: one input through every layout, and whether the answers were the same."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from allotrope import compose
from allotrope.cli.loading import AppName, many, planned
from allotrope.evidence.check import Divergence, Layout, Request, Verdict, varying
from allotrope.evidence.check import Progress as Report
from allotrope.evidence.check import check as checked
from allotrope.evidence.compare import Amounts
from allotrope.evidence.hints import ALONE, hint
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused
from allotrope.planning.plans import Plan
from allotrope.runtime.telemetry.secrets import mask

REFERENCE = "monolith"
WORKER = ("-m", "allotrope.cli.workers.trial")
SEVERAL = 3  # names of runs to list before the rest is counted
COMPARED = ("inputs", "deliveries", "events", "rows", "figures")
DISTURBED = ("repeats", "doubled", "kills")
MOST = 8  # errors to list before the rest is counted
WIDE = 100  # columns from which one table holds all counts

Presets = Annotated[
    str, Parameter(help="Presets to compare, with commas; default: all. The first is the reference.")
]
Topologies = Annotated[
    tuple[str, ...],
    Parameter(name=["--topology", "-t"], help="A topology file to compare as well; may be repeated."),
]
Seeds = Annotated[int, Parameter(help="How often each layout is tried, each time disturbed in another way.")]


def check(app: AppName, /, *, seeds: Seeds = 20, presets: Presets = "", topology: Topologies = ()) -> int:
    """Replay one input through all presets and compare the answers. Exit code 1 when they differ."""
    if seeds < 1:
        raise Refused(
            f"--seeds {seeds}: at least one run has to be compared with the reference; give 1 or more"
        )
    plans = {name: planned(app, name) for name in layouts(presets, topology)}
    first = next(iter(plans.values()))
    if first.app.sample is None:
        raise Refused(
            f"app {first.app.name} has no sample, so there is nothing to replay. "
            "Give it one: App(..., sample=inputs), where inputs(seed) yields Publish, Tell and Ask of "
            "`allotrope.evidence.inputs`"
        )
    tried = [Layout(name, plan.topology.durability != "none") for name, plan in plans.items()]
    began = time.perf_counter()
    with progress() as report:
        request = Request(app=app, layouts=tuple(tried), seeds=seeds, loose=varying(first))
        verdict = asyncio.run(checked(request, WORKER, report))
    console = Console(highlight=False)
    console.print(Sheet(verdict, first, seeds, console.width).shown(time.perf_counter() - began))
    return 0 if verdict.equal else 1


def layouts(presets: str, topologies: Sequence[str]) -> tuple[str, ...]:
    """Return the layouts to compare, each once, the reference first."""
    named = [name.strip() for name in presets.split(",") if name.strip()]
    every = sorted(compose.presets(), key=lambda name: name != REFERENCE)
    return tuple(dict.fromkeys([*(named or every), *topologies]))


@contextmanager
def progress() -> Iterator[Report]:
    """Yield a function that shows on stderr how far a check is: a bar on a terminal, elsewhere a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("comparing runs", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def lines(every_s: float = 10.0, now: Callable[[], float] = time.monotonic) -> Report:
    """Return a function that writes a line to stderr, at most one in `every_s` seconds."""
    began = told = now()

    def report(done: int, total: int) -> None:
        nonlocal told
        if now() - told >= every_s:
            told = now()
            print(f"compared {done} of {total} runs in {told - began:.0f} s", file=sys.stderr, flush=True)

    return report


class Sheet:
    """The verdict, as it is printed on a page of some width."""

    def __init__(self, verdict: Verdict, plan: Plan, seeds: int, width: int) -> None:
        """Print for the app of `plan`."""
        self.verdict, self.plan, self.seeds, self.width = verdict, plan, seeds, width

    @property
    def app(self) -> App:
        """Return the app that was checked."""
        return self.plan.app

    def shown(self, took_s: float) -> RenderableType:
        """Return the whole sheet."""
        parts = [*self._head(took_s), Text(), *self._tables(), Text(), self._line(), *self._places()]
        parts += [*self._failures(), *self._outside()]
        return Group(*parts)

    def _head(self, took_s: float) -> Iterator[RenderableType]:
        counts = self.verdict.counts
        runs = 1 + sum(count.runs for count in counts.values())
        size = f"{many(len(counts), 'layout')} x {many(self.seeds, 'seed')}"
        head = f": one input, {size}, {many(runs, 'run')} in {took_s:.0f} s"
        yield Text.assemble((self.app.name, "bold"), head)
        yield Text(
            f"Reference: {next(iter(counts))}, undisturbed. Every other run has two instances of each "
            "component, another order of work, deliveries run twice, inputs sent twice and its own hash "
            "seed; where events are kept, it is killed and goes on.", "dim",
        )  # fmt: skip

    def _tables(self) -> Iterator[RenderableType]:
        if self.width >= WIDE:
            yield self._table(("runs", *COMPARED, *DISTURBED))
        else:
            yield self._table(("runs", *COMPARED))
            yield Text()
            yield self._table(DISTURBED)

    def _table(self, names: Sequence[str]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        table.add_column("layout", no_wrap=True, overflow="ellipsis")
        for name in names:
            table.add_column("view figures" if name == "figures" else name, justify="right", no_wrap=True)
        total = Amounts()
        for layout, counts in self.verdict.counts.items():
            total.add(counts)
            table.add_row(layout, *(f"{getattr(counts, name):,}" for name in names))
        if len(self.verdict.counts) > 1:
            table.add_row("all", *(f"{getattr(total, name):,}" for name in names), style="bold")
        return table

    def _line(self) -> Text:
        verdict = self.verdict
        if not verdict.compared:
            return Text(
                "Nothing was compared: the sample yields no inputs, or none of them does anything.",
                "bold red",
            )
        if verdict.equal:
            return Text(f"0 differences in {verdict.compared:,} comparisons.", "bold green")
        count = len(verdict.places) or len(verdict.followed)
        order = ", in the order of cause and effect" if count > 1 else ""
        return Text(f"The answers differ in {many(count, 'place')}{order}.", "bold red")

    def _places(self) -> Iterator[RenderableType]:
        for number, (where, place) in enumerate(self.verdict.places.items(), 1):
            yield Text()
            yield Text.assemble(
                (f"{number}  ", "red"), (where, "bold"), (f"  {self._written_at(where)}", "dim")
            )
            usually, remedy = hint(place, batched=self._batched(where))
            rows = [("first", mask(place.first.what)), ("runs", self._runs(place))]
            if place.causes:
                rows.append(("shows with", ", or ".join(ALONE.get(cause, cause) for cause in place.causes)))
            elif place.first.rank:
                rows.append(("shows with", "several disturbances together only"))
            yield Padding(
                _facts([*rows, ("usually", usually), ("remedy", remedy)]), (0, 0, 0, 3), expand=False
            )
        if self.verdict.followed and self.verdict.places:
            yield Text()
            yield Text(f"Differs as a consequence: {', '.join(sorted(self.verdict.followed))}.")
        elif self.verdict.followed:
            yield Text(f"They differ at: {', '.join(sorted(self.verdict.followed))}.")

    def _runs(self, place: Divergence) -> str:
        """Return how many runs show it, and the first of them, to be run again."""
        if not place.first.rank and any(seed == 0 for _, seed in place.runs):
            return "the reference itself"
        count, whole = len(place.runs), self.seeds * len(self.verdict.counts)
        named = ", ".join(
            f"{layout} seed {seed}" for layout, seed in sorted(place.runs, key=_by_seed)[:SEVERAL]
        )
        return f"{count} of {whole}: {named}{', ...' if count > SEVERAL else ''}"

    def _written_at(self, where: str) -> str:
        component, _, name = where.partition(".")
        if component not in self.app.components:
            return ""
        known = {operation.name: operation.place for operation in self.app.components[component].operations}
        place = known.get(name, self.app.components[component].place)
        return f"{os.path.relpath(place.file)}:{place.line}"

    def _batched(self, where: str) -> bool:
        return any(o.title == where and o.batch for c in self.app.components.values() for o in c.operations)

    def _failures(self) -> Iterator[RenderableType]:
        if self.verdict.failures:
            yield Text()
            yield Text(
                "Alike in every run, but nobody declared these errors; declare a Fault, or mend the cause:",
                "yellow",
            )
            told = [
                (f"{count:,} x", mask(error.removeprefix("Failed: ")))
                for error, count in self.verdict.failures.items()
            ]
            rest = [("", f"and {many(len(told) - MOST, 'other', 'others')}")] if len(told) > MOST else []
            yield Padding(_facts([*told[:MOST], *rest]), (0, 0, 0, 3), expand=False)

    def _outside(self) -> Iterator[RenderableType]:
        loose = [
            f"{owner}.{field} reads {name} as it is, without waiting"
            for owner, field, name in self.plan.loose
        ]
        varying = [
            f"{title} may answer otherwise; its answers are recorded and replayed"
            for title in self.plan.unrepeatable
        ]
        if excused := sum(counts.excused for counts in self.verdict.counts.values()):
            loose.append(
                f"{many(excused, 'delivery', 'deliveries')} differed for that reason and were passed over"
            )
        if loose or varying:
            yield Text()
            yield Text("Outside equality, as declared:")
            yield from (Padding(Text(line), (0, 0, 0, 3), expand=False) for line in (*loose, *varying))


def _by_seed(run: tuple[str, int]) -> int:
    return run[1]


def _facts(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, Text(text))
    return table
