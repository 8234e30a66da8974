"""Structured logs: each line says which call it belongs to. By the standard `logging`, so any library fits.

Not here: where lines are kept; they go to stderr, and whoever runs the process collects them.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec

from allotrope.kernel.calls import LAST_ORIGIN, Call, current
from allotrope.runtime.telemetry.secrets import mask

Style = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]


class Line(msgspec.Struct, omit_defaults=True):
    """One line of the journal."""

    time: str
    level: str
    logger: str
    message: str
    trace_id: str = ""
    span_id: str = ""
    component: str = ""
    operation: str = ""
    origin: int = 0
    path: str = ""
    request: str = ""
    tenant: str = ""
    error: str = ""
    place: str = ""


def line_of(record: logging.LogRecord) -> Line:
    """Return a log record with its call: the one that it carries as `call`, else the current."""
    error = (
        logging.Formatter().formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
    )
    line = Line(
        datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        record.levelname.lower(), record.name, mask(record.getMessage()), error=mask(error),
    )  # fmt: skip
    call: Call | None = getattr(record, "call", None) or current.get()
    if call is not None:
        line.component, line.operation, line.path = call.component, call.operation, call.path
        line.request, line.tenant = call.request, call.tenant
        line.origin = call.origin if call.origin != LAST_ORIGIN else 0
        if call.trace is not None:
            line.trace_id, line.span_id = f"{call.trace.trace_id:032x}", f"{call.trace.span_id:016x}"
    return line


class JsonLines(logging.Formatter):
    """One JSON object per record, with the process that it is of, where there are several."""

    def __init__(self, place: str = "") -> None:
        """Name the process."""
        super().__init__()
        self._place = place

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = line_of(record)
        line.place = self._place
        return msgspec.json.encode(line).decode()


class Plain(logging.Formatter):
    """One line of text per record, an error's traceback below it."""

    def __init__(self, *, timed: bool) -> None:
        """Begin with the time and the level, or leave both to a terminal's handler."""
        super().__init__()
        self._timed = timed

    def format(self, record: logging.LogRecord) -> str:
        """Return the text."""
        line = line_of(record)
        head = f"{line.time} {line.level:<7} {line.logger}  " if self._timed else ""
        return head + line.message + where(line) + (f"\n{line.error}" if line.error else "")


def where(line: Line) -> str:
    """Return the call of a line in brackets, "" when it has none."""
    facts = [f"{line.component}.{line.operation}" if line.component else ""]
    facts += [f"event {line.origin}{line.path}" if line.origin else ""]
    facts += [
        f"request {line.request}" if line.request else "",
        f"trace {line.trace_id[:8]}" if line.trace_id else "",
    ]
    shown = ", ".join(filter(None, facts))
    return f"  [{shown}]" if shown else ""


def configure(
    style: Style = "text", level: Level = "info", stream: TextIO | None = None, place: str = ""
) -> None:
    """Send all logs of the process to `stream`, stderr by default, in place of what was set up before."""
    stream = stream or sys.stderr
    handler: logging.Handler
    if style == "json":
        handler = logging.StreamHandler(stream)
        handler.setFormatter(JsonLines(place))
    elif stream.isatty():
        handler = _terminal(stream)
    else:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(Plain(timed=True))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def _terminal(stream: TextIO) -> logging.Handler:
    from rich.console import Console
    from rich.logging import RichHandler

    options: dict[str, Any] = {
        "show_path": False,
        "omit_repeated_times": False,
        "log_time_format": "%H:%M:%S",
    }
    handler = RichHandler(console=Console(file=stream), **options)
    handler.setFormatter(Plain(timed=False))
    return handler
