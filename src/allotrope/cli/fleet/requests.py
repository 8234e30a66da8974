"""`allotrope requests`: what the calls of the last minutes add up to, as the sidecars of an app have seen them."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from allotrope import compose
from allotrope.cli.loading import Folder, many, screen
from allotrope.kernel.errors import Refused
from allotrope.sidecars.figures import FOLDER, KEPT, Figures, Minute, figures_in, summed

Minutes = Annotated[int, Parameter(help=f"How many of the last minutes to add up, {KEPT} at most.")]
_TITLES = ("unit", "operation", "release", "calls", "errors", "median", "95 %", "99 %", "")
_LEFT = {"unit", "operation", ""}
_SHARES = (0.5, 0.95, 0.99)


def requests(*, folder: Folder = compose.FOLDER, minutes: Minutes = 15) -> int:
    """Show calls, errors and times by operation, of units with the sidecar `requests`."""
    found = figures_in(folder)
    if not found:
        raise Refused(
            f'{folder}: no sidecar has written there; give a unit sidecars = ["requests"] in the topology, and run it'
        )
    calls = summed(found, int(time.time() // 60) - minutes + 1)
    console = screen()
    if calls:
        console.print(table(calls))
    else:
        console.print(f"no call in the last {many(minutes, 'minute')}; --minutes {KEPT} looks further back")
    if any(minute.fields for minute in calls.values()):
        console.print()
        console.print(fields(calls))
    for line in (*losses(found), f"each call is a row in {Path(folder) / FOLDER}/*/*.parquet"):
        console.print(line, style="dim")
    return 0


def table(calls: dict[tuple[str, str, int], Minute]) -> Table:
    """Return calls, errors and times by unit and operation; by release too, where there are several."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    several = len({release for *_, release in calls}) > 1
    for title in _TITLES if several else [title for title in _TITLES if title != "release"]:
        shown.add_column(title, justify="left" if title in _LEFT else "right", no_wrap=bool(title))
    before = ""
    for (unit, title, release), minute in sorted(calls.items()):
        wrong = sorted(minute.errors.items(), key=lambda error: -error[1])
        shown.add_row(
            "" if unit == before else unit, title, *((str(release),) if several else ()), f"{minute.count:,}",
            Text(f"{sum(minute.errors.values()):,}", style="red" if wrong else ""),
            *(duration(minute.quantile(share)) for share in _SHARES),
            Text(", ".join(f"{count:,} {name}" for name, count in wrong[:3]), style="red"),
        )  # fmt: skip
        before = unit
    return shown


def fields(calls: dict[tuple[str, str, int], Minute]) -> Table:
    """Return how the numbers lie that operations were given."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("operation", "field", "values", "mean", "least", "most"):
        shown.add_column(title, justify="left" if title in ("operation", "field") else "right")
    before = ""
    for (_, title, _), minute in sorted(calls.items()):
        for name, spread in sorted(minute.fields.items()):
            figures = (spread.total / spread.count, spread.least, spread.most)
            shown.add_row(
                "" if title == before else title, name, f"{spread.count:,}", *(f"{x:,.6g}" for x in figures)
            )
            before = title
    return shown


def losses(found: list[Figures]) -> Iterator[str]:
    """Yield a line for each replica whose log is not whole."""
    for figures in found:
        if figures.dropped:
            text = f"{figures.replica}: {figures.dropped:,} calls are not in its log"
            yield f"{text}: the ring was full; a larger ring_kb helps, or fewer calls"
        if figures.unread:
            yield f"{figures.replica}: {figures.unread:,} entries could not be read"


def duration(micros: float) -> str:
    """Return a time with its unit, in three digits."""
    for size, unit in ((1e6, "s"), (1e3, "ms")):
        if micros >= size:
            return f"{micros / size:.3g} {unit}"
    return f"{micros:.3g} us"
