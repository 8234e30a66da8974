"""`allotrope logs`: what the units of an app have written, in the order of time."""

import heapq
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from allotrope import compose
from allotrope.cli.loading import Folder, screen
from allotrope.kernel.errors import Refused, nearest
from allotrope.runtime.telemetry.journal import Line, where

Least = Literal["debug", "info", "warning", "error", "critical"]
LEVELS = get_args(Least)
LOOK_S = 0.25
_STYLES = {"debug": "dim", "warning": "yellow", "error": "bold red", "critical": "bold red"}


class Entry(NamedTuple):
    """One line of one process. One that is no JSON, as of a traceback, is taken for a part of the line before it."""

    time: str
    place: str
    line: Line


class Source:
    """The log of one unit, read on from where it was left."""

    def __init__(self, path: Path) -> None:
        """Begin at its beginning."""
        self.path, self.unit = path, path.stem
        self._file = path.open("rb")
        self._left, self._before = b"", Line("", "", "", "", place=self.unit)

    def fresh(self) -> Iterator[Entry]:
        """Yield the whole lines that have come since the last look."""
        for piece in self._file:
            self._left += piece
            if not piece.endswith(b"\n"):
                return  # the rest of it is being written
            written, self._left = self._left, b""
            yield self._entry(written)

    def _entry(self, written: bytes) -> Entry:
        try:
            line = msgspec.json.decode(written, type=Line)
        except msgspec.MsgspecError:
            said, before = written.decode("utf-8", "replace").rstrip("\n"), self._before
            line = Line(before.time, "", "", said, trace_id=before.trace_id, place=before.place)
        self._before = line
        return Entry(line.time, line.place or self.unit, line)


@dataclass(frozen=True)
class Settings:
    """What is shown."""

    folder: Folder = compose.FOLDER
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], help="Go on as lines come.")] = False
    lines: Annotated[int, Parameter(name=["--lines", "-n"], help="How many of the newest to begin with.")] = (
        200
    )
    level: Annotated[Least, Parameter(help="The least that is shown.")] = "debug"
    trace: Annotated[str, Parameter(help="Only lines of a trace, by the beginning of its id.")] = ""

    def wanted(self, entry: Entry) -> bool:
        """Return whether a line is shown. One without a level, as of a traceback, always is."""
        found = entry.line
        loud = found.level not in LEVELS or LEVELS.index(found.level) >= LEVELS.index(self.level)
        return loud and found.trace_id.startswith(self.trace)


def logs(
    unit: Annotated[str, Parameter(help="One unit only; `host` is the process that starts them.")] = "",
    /,
    *,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),
) -> int:
    """Show the log lines of all units, merged by time."""
    console, sources = screen(), dict[Path, Source]()
    found = filter(settings.wanted, _fresh(settings.folder, unit, sources))
    newest = deque(found, maxlen=max(settings.lines, 0))
    width = max((len(entry.place) for entry in newest), default=0)
    _show(newest, console, width)
    if not newest:
        print(_quiet(settings), file=sys.stderr)
    while settings.follow:
        time.sleep(LOOK_S)
        _show(filter(settings.wanted, _fresh(settings.folder, unit, sources)), console, width)
    return 0


def _quiet(settings: Settings) -> str:
    """Return what to say when there is nothing to show."""
    asked = f" of trace {settings.trace}" if settings.trace else ""
    asked += f" of level {settings.level} or above" if settings.level != "debug" else ""
    more = "; waiting for some" if settings.follow else ""
    place = settings.folder / "logs"
    return (
        f"no lines{asked}{more}: units write what they have to say, from level info on, to {place}/UNIT.log"
    )


def _fresh(folder: Path, unit: str, sources: dict[Path, Source]) -> Iterator[Entry]:
    """Yield what is new in all files, in the order of time; files that have come since are looked at as well."""
    place = folder / "logs"
    there = sorted(path for path in place.glob("*.log") if not unit or path.stem == unit)
    if not there:
        known = [path.stem for path in place.glob("*.log")]
        if unit and known:
            raise Refused(f"{place} has no log of a unit `{unit}`. {nearest(unit, known)}")
        raise Refused(f"{place} has no logs: only an app whose units are processes keeps them there")
    for path in there:
        if path not in sources:
            sources[path] = Source(path)
    yield from heapq.merge(*(source.fresh() for source in sources.values()), key=lambda entry: entry.time)


def _show(entries: Iterable[Entry], console: Console, width: int) -> None:
    for moment, place, line in entries:
        style = _STYLES.get(line.level, "")
        text = Text(f"{moment[11:23]:12} ", style="dim").append(f"{place:{width}} ", style="cyan not dim")
        text.append(f"{line.level:8}", style=f"{style} not dim").append(
            line.message, style=f"{style} not dim"
        )
        text.append(where(line) if line.level else "")
        console.print(text, highlight=False)
        if line.error:
            console.print(Text(line.error, style="red"))
