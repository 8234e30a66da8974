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
  a request id        as the caller gave it
  a key               of an event, as a payment's id: the newest input that is or has led to such an event"""


class Found(msgspec.Struct, frozen=True):
    """What stands under a name: traces, newest first, and inputs; `path` and `operation` narrow it down.

    A key stands for the newest input that has to do with it; the older ones are `others`.
    """

    traces: tuple[str, ...] = ()
    origins: tuple[int, ...] = ()
    path: str = ""
    operation: str = ""
    others: tuple[int, ...] = ()

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
        ways = (self._by_origin, self._by_request, self._by_trace, self._by_key)
        if found := next(filter(None, (way(name) for way in ways)), None):
            return found
        why = "".join(f"\n{line}" for line in self._beside(name) if line)
        raise Refused(f"nothing here is called `{name}`.\n{KINDS}\nKept in {self.folder}: {self.kept()}{why}")

    def _beside(self, name: str) -> tuple[str, ...]:
        """Return why something may be missing here."""
        parts = _EVENT.fullmatch(name)
        origin = 0 if parts is None else int(parts[1])
        return self.history.passed_over(), self.history.removed(origin), self.history.elsewhere()

    def _by_origin(self, name: str) -> Found:
        parts = _EVENT.fullmatch(name)
        origin = 0 if parts is None else int(parts[1])
        if parts is None or not origin:  # under 0 a log keeps notes of its own
            return Found()
        traces = self._traces(origin)
        if not traces and not self.history.events(origin) and not self.history.records(origin):
            return Found()
        return Found(traces, (origin,), parts[2], parts[3] or "")

    def _traces(self, origin: int) -> tuple[str, ...]:
        """Return the traces of an input. Spans outlive the host: some may be of an earlier one's same number."""
        traces = self.spans.of_origin(origin) if self.spans else []
        return tuple(trace for trace in traces if self.history.saw(origin, trace))

    def _by_request(self, name: str) -> Found:
        traces = self.spans.of_request(name) if self.spans else []
        origins = {*self.history.of_request(name), *self._origins(traces)}
        return Found(tuple(traces), tuple(sorted(origins)))

    def _by_key(self, name: str) -> Found:
        origin, *others = self.history.of_key(name) or [0]
        return Found(self._traces(origin), (origin,), others=tuple(others)) if origin else Found()

    def _by_trace(self, name: str) -> Found:
        name = name.lower()
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
        found = {(span.origin, trace) for trace in traces for span in self.spans.trace(trace) if span.origin}
        return {origin for origin, trace in found if self.history.saw(origin, trace)}

    def kept(self) -> str:
        """Return in words how much is kept."""
        words = []
        if self.spans is not None:
            kept = self.spans.kept()
            words.append(f"{kept.spans:,} spans of {kept.traces:,} traces")
        if self.history:
            held, counts = self.history.kept(), self.history.counts
            words.append(f"{held.events:,} events")
            written = f" of {counts.made:,} under {counts.topology}" if counts else ""
            words.append(
                f"{held.records:,} decision records{written}, of origins {held.first:,} to {held.last:,}"
            )
        return ", ".join(words) or "nothing yet"

    def close(self) -> None:
        """Close the files."""
        if self.spans is not None:
            self.spans.close()
        self.history.close()
