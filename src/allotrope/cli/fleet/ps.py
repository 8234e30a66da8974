"""`allotrope ps`: the processes of a running app, as a table."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from rich.table import Table
from rich.text import Text

from allotrope import compose
from allotrope.cli.fleet.requests import losses
from allotrope.cli.loading import Folder, screen
from allotrope.engines.processes.control import Seen, Sight, Way
from allotrope.kernel import codec
from allotrope.sidecars.figures import figures_in

_STYLES = {"ready": "green", "loading": "yellow", "starting": "yellow", "leaving": "cyan"}
_TITLES = ("unit", "process", "state", "pid", "up", "cpu", "memory", "calls", "starts", "partitions")
_LEFT = {"unit", "process", "state", "partitions"}


def ps(*, folder: Folder = compose.FOLDER) -> int:
    """List the processes of a running app."""
    found = sight(folder)
    console = screen()
    console.print(table(found))
    console.print(summary(found), style="dim")
    for line in losses(figures_in(folder)):
        console.print(line, style="yellow")
    return 0


def sight(folder: Path) -> Sight:
    """Return what runs in a folder. Refused when nothing does."""
    found: Sight = codec.decode(Way(folder).ask("list", timeout_s=5.0), Sight)
    return found


def table(found: Sight) -> Table:
    """Return the processes, the host first, then by unit."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for title in _TITLES:
        shown.add_column(title, justify="left" if title in _LEFT else "right", overflow="fold")
    unit = ""
    for process in found.processes:
        again = process.unit == unit
        unit = process.unit
        shown.add_row("" if again else unit, *_cells(process))
    return shown


def _cells(process: Seen) -> Iterator[str | Text]:
    yield process.name
    yield Text(process.state, style=_STYLES[process.state])
    yield str(process.pid or "")
    yield span(process.age_s)
    yield f"{process.cpu:.0%}"
    yield f"{process.memory_mb:.0f} MiB"
    yield str(process.calls)
    yield str(process.starts)
    yield ranges(process.partitions)


def summary(found: Sight) -> str:
    """Return what there should be, and what there is, in a line."""
    there = [process for process in found.processes if process.unit and process.state == "ready"]
    memory = sum(process.memory_mb for process in found.processes)
    cpu = sum(process.cpu for process in found.processes)
    wanted = sum(found.wanted.values())
    return (
        f"{found.app}: {len(there)} of {wanted} replicas ready, {cpu:.0%} of a core, "
        f"{memory:.0f} MiB with shared parts"
    )


def span(seconds: float) -> str:
    """Return a length of time, short."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def ranges(numbers: Sequence[int]) -> str:
    """Return numbers in order as ranges: 0-3,7."""
    runs = [
        [number for _, number in run]
        for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    ]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
