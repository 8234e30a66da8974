"""Impact: all that came of an input, an event or a decision, as far as it has been committed."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from allotrope.evidence.archive.history import History
from allotrope.runtime.records import Record
from allotrope.storage.ports import Envelope


class Consequence(msgspec.Struct, frozen=True):
    """One event, and what each operation that took it has done."""

    name: str
    event: Envelope | None  # None where the log has not got it yet, or it was recorded only
    kind: str
    decisions: tuple["Decision", ...] = ()

    def events(self) -> Iterator["Consequence"]:
        """Yield this event and all below it."""
        yield self
        for decision in self.decisions:
            for event in decision.events:
                yield from event.events()

    def totals(self) -> Counter[str]:
        """Return how many events, decisions, rows and parked deliveries there are, this event left out."""
        counts = Counter[str]()
        for event in self.events():
            counts["events"] += event is not self
            for decision in event.decisions:
                counts["decisions"] += 1
                counts["rows"] += len(decision.record.writes)
                counts["parked"] += decision.parked
        return counts


class Decision(msgspec.Struct, frozen=True):
    """What one operation made of an event."""

    record: Record
    events: tuple[Consequence, ...]
    parked: bool


def impact(history: History, origin: int, path: str = "", operation: str = "") -> Consequence:
    """Return an event with all that came of it; `operation` leaves only what one of its consumers did."""
    below: dict[str, list[Record]] = {}
    for record in history.records(origin):
        below.setdefault(record.path, []).append(record)
    events = {envelope.path: envelope for envelope in history.events(origin)}
    whole = _consequence(origin, path, below, events)
    if not operation:
        return whole
    kept = tuple(decision for decision in whole.decisions if decision.record.title == operation)
    return msgspec.structs.replace(whole, decisions=kept)


def _consequence(
    origin: int, path: str, below: dict[str, list[Record]], events: dict[str, Any], kind: str = ""
) -> Consequence:
    decisions = []
    for record in below.get(path, ()):
        kind = record.kind
        names = [
            (f"{path}/{record.title}#{index:03d}", name) for index, (name, _) in enumerate(record.events)
        ]
        children = tuple(_consequence(origin, child, below, events, name) for child, name in names)
        parked = bool(record.error) and record.kind != record.title  # a command's error went to its caller
        decisions.append(Decision(record, children, parked))
    envelope = events.get(path)
    return Consequence(f"{origin}{path}", envelope, envelope.kind if envelope else kind, tuple(decisions))
