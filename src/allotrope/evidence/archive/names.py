"""Names: what a person may call a trace, an input, an event, a decision or a request, and what it is."""

import re
from pathlib import Path

import msgspec

from allotrope.evidence.archive.history import History
from allotrope.kernel.errors import Refused
from allotrope.runtime.telemetry.spans import Spans

_EVENT = re.compile(r"(\d{1,18})((?:/\w+\.\w+#\d+)*)(?:/(\w+\.\w+))?")
_TRACE = re.compile(r"[0-9a-f]{4,32}")
KINDS = """An ID is one of
  a trace id          4bf92f3577b34da6a3ce929d0e0e4736, or its beginning, from 4 digits on
  an origin           42: an input and all that it led to
  an event            42/Intake.accept#000: what Intake.accept published first for input 42
  a decision          42/Intake.accept#000/Scorer.score: what Scorer.score made of that event
  a request id        as the caller gave it"""


class Found(msgspec.Struct, frozen=True):
    """What stands under a name: traces, newest first, and inputs; `path` and `operation` narrow it down."""

    traces: tuple[str, ...] = ()
    origins: tuple[int, ...] = ()
    path: str = ""
    operation: str = ""

    def __bool__(self) -> bool:
        """Return whether there is anything."""
        return bool(self.traces or self.origins)


class Archive:
    """A host's folder: its spans and its history."""

    def __init__(self, folder: Path) -> None:
        """Open what there is. Refused when the folder does not exist."""
        if not folder.is_dir():
            raise Refused(f"{folder}: no such folder; `allotrope run` makes it, `--folder` names another one")
        self.folder = folder
        self.spans, self.history = Spans.of(folder), History(folder)

    def find(self, name: str) -> Found:
        """Return what `name` stands for. Refused, with the kinds of name and what is kept, when nothing."""
        if found := self._by_origin(name) or self._by_request(name) or self._by_trace(name.lower()):
            return found
        raise Refused(f"nothing here is called `{name}`.\n{KINDS}\nKept in {self.folder}: {self.kept()}")

    def _by_origin(self, name: str) -> Found:
        parts = _EVENT.fullmatch(name)
        if parts is None:
            return Found()
        origin = int(parts[1])
        traces = tuple(self.spans.of_origin(origin)) if self.spans else ()
        if not traces and not self.history.events(origin) and not self.history.records(origin):
            return Found()
        return Found(traces, (origin,), parts[2], parts[3] or "")

    def _by_request(self, name: str) -> Found:
        traces = self.spans.of_request(name) if self.spans else []
        origins = {*self.history.of_request(name), *self._origins(traces)}
        return Found(tuple(traces), tuple(sorted(origins)))

    def _by_trace(self, name: str) -> Found:
        if not _TRACE.fullmatch(name):
            return Found()
        traces = self.spans.begun_by(name) if self.spans else []
        if len(traces) > 1:
            raise Refused(
                f"{len(traces)} traces begin with `{name}`; give more digits: {', '.join(traces[:5])}"
            )
        origins = {*self._origins(traces), *self.history.of_trace(name)}
        return Found(tuple(traces), tuple(sorted(origins)))

    def _origins(self, traces: list[str]) -> set[int]:
        if self.spans is None:
            return set()
        return {span.origin for trace in traces for span in self.spans.trace(trace) if span.origin}

    def kept(self) -> str:
        """Return in words how much is kept."""
        words = []
        if self.spans is not None:
            kept = self.spans.kept()
            words.append(f"{kept.spans:,} spans of {kept.traces:,} traces")
        if self.history:
            held = self.history.kept()
            words.append(f"{held.events:,} events")
            words.append(f"{held.records:,} decision records of origins {held.first:,} to {held.last:,}")
        return ", ".join(words) or "nothing yet"

    def close(self) -> None:
        """Close the files."""
        if self.spans is not None:
            self.spans.close()
        self.history.close()
