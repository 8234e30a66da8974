"""Retention: how long the log keeps what, and whether the app can live with it.

Not here: which entries may go at a given moment; that depends on what is finished and kept otherwise.
"""

import re
from collections.abc import Iterator

from allotrope.kernel.views import View
from allotrope.planning.documents import Document, Finding, finding
from allotrope.planning.facts import Facts
from allotrope.planning.topology import Topology

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}
HOUR = 3_600_000_000  # microseconds
LEAST = 24 * HOUR  # for so long a repeated request id is answered with the first one's origin
NEWEST = -1  # instead of a length of time: of each key the newest one stays


def span(text: str) -> int | None:
    """Return a length of time as `36h`, `30d` or `4w` in microseconds, None when it is none."""
    found = _SPAN.fullmatch(text)
    return None if found is None else round(float(found[1]) * _HOURS[found[2]] * HOUR)


def spans(topology: Topology, kinds: tuple[str, ...]) -> dict[str, int]:
    """Return for how long entries of each kind are kept, in microseconds, or NEWEST; forever is left out."""
    found = {}
    for kind in kinds:
        topic = topology.topic_of(kind)
        if topic.compact:
            found[kind] = NEWEST
        elif length := span(topic.keep or topology.log.keep):
            found[kind] = length
    return found


def retention_faults(facts: Facts, topology: Topology, document: Document) -> Iterator[Finding]:
    """Yield a fault for each line that would remove what is needed, or that nothing can carry out."""
    written = [
        (("topic", name, "keep"), f"topic `{name}`", topic.keep) for name, topic in topology.topic.items()
    ]
    for place, what, text in (*written, (("log", "keep"), "log", topology.log.keep)):
        if not text:
            continue
        length = span(text)
        if length is None:
            yield finding(
                document.place(*place), f'{what} has keep = {text!r}; write hours, days or weeks: "30d"'
            )
        elif length < LEAST:
            why = "within a day a repeated request id must find its input"
            yield finding(document.place(*place), f'{what} has keep = {text!r}; {why}: "1d" is the least')
        else:
            yield from _possible(topology, document, place, what)
    for name, topic in topology.topic.items():
        if topic.compact:
            place = ("topic", name, "compact")
            if topic.keep:
                yield finding(
                    document.place(*place), f"topic `{name}` has both keep and compact; say one of the two"
                )
            yield from _possible(topology, document, place, f"topic `{name}`")
            yield from _compact(facts, document, name)


def _possible(topology: Topology, document: Document, place: tuple[str, ...], what: str) -> Iterator[Finding]:
    key = place[-1]
    if topology.durability == "none":
        yield finding(
            document.place(*place),
            f"{what} has {key}, but durability is `none`: there is no log to remove from",
        )
    elif topology.log.kind != "sqlite":
        text = f"{what} has {key}, but the log is in {topology.log.kind}, which keeps all that it has; use kind = "
        yield finding(document.place(*place), f'{text}"sqlite", or leave out {key}')


def _compact(facts: Facts, document: Document, name: str) -> Iterator[Finding]:
    """Yield a fault for each view that needs more of a topic than the newest event of each key."""
    place = document.place("topic", name, "compact")
    for part in facts.parts.values():
        kind = part.component.kind
        if not part.component.is_view or not issubclass(kind, View):
            continue
        for source in kind.sources():
            if name not in ("*", source.__name__):
                continue
            counted = [a.name for a in kind.__aggregates__ if type(a).__name__ != "Last" or a.window]
            why = (
                f"`{counted[0]}` needs every event, not the newest of a key" if counted
                else f"it reads by `{kind.__at__}`, and the newest by that is not the newest in the log" if kind.__at__
                else f"its key is `{kind.__key__}`, and the log keeps the newest by `{source.__key__}`"
                if kind.__key__ and kind.__key__ != source.__key__ else ""
            )  # fmt: skip
            if not source.__key__:
                why = f"{source.__name__} has no key"
            if why:
                text = f"topic `{source.__name__}` is compacted, but view {part.name} adds it up: {why}; "
                yield finding(place, f"{text}use `Last` without window and time, or drop compact")
