"""`allotrope ps`: the processes of a running app, as a table."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from allotrope import compose
from allotrope.cli.fleet.requests import losses
from allotrope.cli.loading import Folder, many, screen
from allotrope.engines.desk import HOST
from allotrope.engines.processes.control import Seen, Sight, Way
from allotrope.engines.processes.lines import Canary
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.sidecars.figures import figures_in

_STYLES = {"ready": "green", "loading": "yellow", "starting": "yellow", "leaving": "cyan", "waits": "red"}
_TITLES = (
    "unit", "process", "state", "pid", "up", "cpu", "memory", "calls", "starts", "release", "share",
    "partitions",
)  # fmt: skip
_LEFT = {"unit", "process", "state", "partitions"}
Lags = dict[str, tuple[int, float]]
NO_LAGS: Lags = {}
_ENDLESS = 10_000  # columns
_SPARED = (
    "starts",
    "unit",
    "calls",
    "cpu",
    "up",
    "release",
    "partitions",
)  # what a narrow terminal does without, in that order


def ps(*, folder: Folder = compose.FOLDER) -> int:
    """List the processes of a running app."""
    found = sight(folder)
    console = screen()
    console.print(shown(found, console, lagging(folder)))
    for line in losses(figures_in(folder)):
        console.print(line, style="yellow")
    return 0


def sight(folder: Path) -> Sight:
    """Return what runs in a folder. Refused when nothing does."""
    found: Sight = codec.decode(Way(folder).ask("list", timeout_s=5.0), Sight)
    return found


def lagging(folder: Path) -> Lags:
    """Return which consumers and views are behind, each with events and seconds; nothing where no host answers."""
    try:
        found = codec.decode(Way(folder, HOST).ask("lag", timeout_s=5.0), Lags)
    except Refused:  # it is being started again, perhaps
        return {}
    return {name: lag for name, lag in found.items() if lag[0]}


def shown(found: Sight, console: Console, lags: Lags = NO_LAGS) -> Group:
    """Return the processes, what keeps some from being there, who is behind, and the sum of all."""
    titles = [title for title in _TITLES if title != "share" or found.canaries]
    spared = [title for title in _SPARED if title != "release" or not found.canaries]
    made = table(found, titles)
    while spared and not console.soft_wrap and _width(made, console) > console.width:
        titles.remove(spared.pop(0))
        made = table(found, titles)
    if console.soft_wrap:
        made.width = _width(made, console)  # whole lines for a file or a pipe
    waits = [
        f"{process.name} ended young: {process.said}"
        if process.wait_s
        else f"{process.name}: the one before it {process.said}"
        for process in found.processes
        if process.said
    ]
    lines = (Text(line, style="yellow") for line in dict.fromkeys(waits))
    canaries = (Text(f"{canary.unit}: {spoken(canary)}", style="cyan") for canary in found.canaries)
    behind = (
        Text(f"{name} is behind by {many(events, 'event')}, the oldest {span(seconds)} old", style="yellow")
        for name, (events, seconds) in sorted(lags.items(), key=lambda lag: -lag[1][0])
    )
    return Group(made, *lines, *canaries, *behind, Text(summary(found), style="dim"))


def _width(made: Table, console: Console) -> int:
    return console.measure(made, options=console.options.update(width=_ENDLESS)).maximum


def table(found: Sight, titles: Sequence[str] = _TITLES) -> Table:
    """Return the processes, the host first, then by unit."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles:
        made.add_column(title, justify="left" if title in _LEFT else "right", no_wrap=True)
    unit = ""
    for process in found.processes:
        cells = _cells(process) | ({"unit": ""} if process.unit == unit else {})
        cells["share"] = _share(process, found)
        unit = process.unit
        made.add_row(*(cells[title] for title in titles))
    return made


def _cells(process: Seen) -> dict[str, str | Text]:
    state = f"waits {process.wait_s:.1f} s" if process.state == "waits" else process.state
    there = process.pid != 0
    return {
        "unit": process.unit,
        "process": process.name,
        "state": Text(state, style=_STYLES[process.state]),
        "pid": str(process.pid) if there else "",
        "up": span(process.age_s) if there else "",
        "cpu": f"{process.cpu:.0%}" if there else "",
        "memory": f"{process.memory_mb:.0f} MiB" if there else "",
        "calls": str(process.calls) if there else "",
        "starts": str(process.starts),
        "release": str(process.release) if there and process.unit else "",
        "partitions": ranges(process.partitions),
    }


def _share(process: Seen, found: Sight) -> str:
    """Return what part of the queries without a key a replica gets, while there is a canary."""
    canary = next((each for each in found.canaries if each.unit == process.unit and each.share < 1), None)
    if canary is None or process.state != "ready":
        return ""
    newer = process.release == canary.release
    ready = [each for each in found.processes if each.unit == process.unit and each.state == "ready"]
    side = [each for each in ready if (each.release == canary.release) == newer]
    whole = len(side) == len(ready)  # the other side cannot be asked now
    return f"{(1 if whole else canary.share if newer else 1 - canary.share) / len(side):.1%}"


def spoken(canary: Canary) -> str:
    """Return what a canary gets, in words."""
    if canary.share == 1:
        return f"release {canary.release} takes over"
    queries = f"release {canary.release} gets {canary.share:.3g} of the queries"
    if not canary.partitions:
        return queries
    return f"{queries}, and {canary.taken} of {canary.partitions} partitions: all of their keys"


def summary(found: Sight) -> str:
    """Return what there should be, and what there is, in a line."""
    there = [process for process in found.processes if process.unit and process.state == "ready"]
    memory = sum(process.memory_mb for process in found.processes)
    cpu = sum(process.cpu for process in found.processes)
    wanted = sum(found.wanted.values())
    return (
        f"{found.app}: {len(there)} of {many(wanted, 'replica')} ready, {cpu:.0%} of a core, "
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
