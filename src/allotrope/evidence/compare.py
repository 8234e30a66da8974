"""Comparison of two runs of one input: how much was compared, and the first place where they part."""

from collections.abc import Iterator
from typing import Any

import msgspec

from allotrope.evidence.runs import Run, Step
from allotrope.kernel import codec


class Difference(msgspec.Struct, frozen=True):
    """One place where two runs part: `where` is `Component.operation`, a table or a view."""

    where: str
    what: str


class Counts(msgspec.Struct):
    """How much was compared."""

    runs: int = 0
    inputs: int = 0
    deliveries: int = 0
    events: int = 0
    rows: int = 0
    figures: int = 0
    repeats: int = 0
    doubled: int = 0
    kills: int = 0

    def add(self, other: "Counts") -> None:
        """Add another's counts."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def compared(reference: Run, found: Run) -> tuple[Counts, list[Difference]]:
    """Return what was compared and the differences, the first in causal order first."""
    counts = Counts(runs=1, repeats=found.repeats, doubled=found.doubled)
    differences = [Difference(where, what) for where, what in found.findings]
    differences += _steps(reference, found, counts)
    for number, (one, other) in enumerate(zip(reference.outcomes, found.outcomes, strict=True), 1):
        if other != ("", ""):
            counts.inputs += 1
            if one != other:
                differences.append(Difference(other[0], f"input {number} got {other[1]:.70}, not {one[1]:.70}"))
    differences += _rows("table", reference.tables, found.tables, counts)
    differences += _rows("view", reference.views, found.views, counts)
    return counts, differences


def _steps(reference: Run, found: Run, counts: Counts) -> Iterator[Difference]:
    ours = {(step.rank, step.path, step.title): step for step in reference.steps}
    theirs = {(step.rank, step.path, step.title): step for step in found.steps}
    for key in sorted({*ours, *theirs}):
        one, other = ours.get(key), theirs.get(key)
        rank, _, title = key
        if one is None or other is None:
            did = "ran only here" if one is None else "did not run here"
            yield Difference(_cause(key, ours, theirs), f"{title} {did}, on input {rank}")
            continue
        counts.deliveries += 1
        counts.events += len(one.events)
        if one != other:
            yield Difference(title, f"on input {rank}: {_parted(one, other)}")


def _cause(key: tuple[int, str, str], ours: dict[Any, Step], theirs: dict[Any, Step]) -> str:
    """Return the operation that published, or failed to publish, what only one side has."""
    path = key[1]
    return path.rpartition("/")[2].partition("#")[0] if path else key[2]


def _parted(one: Step, other: Step) -> str:
    if one.error != other.error:
        return f"ended with {other.error or 'an answer'}, not {one.error or 'an answer'}"
    if one.events != other.events:
        return f"published {_events(other)}, not {_events(one)}"
    if one.writes != other.writes:
        return f"wrote {_writes(other)}, not {_writes(one)}"
    return f"answered {_shown(other.answer)}, not {_shown(one.answer)}"


def _events(step: Step) -> str:
    return ", ".join(f"{kind} {_shown(body)}" for kind, body in step.events) or "nothing"


def _writes(step: Step) -> str:
    return ", ".join(f"{table}[{key!r}] = {_shown(row)}" for table, key, row in step.writes) or "nothing"


def _shown(data: bytes | None) -> str:
    return "nothing" if not data else f"{codec.decode(data)!r:.100}"


def _rows(
    what: str, ours: dict[str, dict[str, bytes]], theirs: dict[str, dict[str, bytes]], counts: Counts
) -> Iterator[Difference]:
    for name in sorted({*ours, *theirs}):
        one, other = ours.get(name, {}), theirs.get(name, {})
        for key in sorted({*one, *other}):
            if what == "table":
                counts.rows += 1
            else:
                counts.figures += 1
            if one.get(key) != other.get(key):
                here, there = _shown(other.get(key)), _shown(one.get(key))
                yield Difference(name, f"{what} row {key!r} ends as {here}, not {there}")
