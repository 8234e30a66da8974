"""Comparison of two runs of one input: how much was compared, where they part, what only follows.

A step that was given the same, read the same and yet did something else is where a run parted. One that was
given or read something else follows from an earlier difference, or accuses whoever answered it.
"""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import msgspec

from allotrope.evidence.contrast import Contrast, Symptom, brief, contrast, decoded, shown
from allotrope.evidence.runs import Run, Step

Key = tuple[int, str, str]  # rank, path and title: the name of a step in every run
Steps = dict[Key, Step]
Rows = dict[str, dict[str, bytes]]
Loose = frozenset[tuple[str, str]]  # (component, the view or component whose answers to it may vary)
LOAD = ("Lost", "Expired", "Overloaded")
LAST = 1 << 30  # the rank of what shows at the end only


class Difference(msgspec.Struct, frozen=True):
    """A place where two runs part: `where` is `Component.operation`, a table, a view or its figure."""

    where: str
    what: str
    symptom: Symptom = "value"
    rank: int = 0  # of the input, counted from 1; 0 for what needs no comparison
    follows: bool = False  # from a difference further up


class Amounts(msgspec.Struct):
    """How much was compared, and how much disturbed."""

    runs: int = 0
    inputs: int = 0
    deliveries: int = 0
    events: int = 0
    rows: int = 0
    figures: int = 0
    repeats: int = 0
    doubled: int = 0
    kills: int = 0
    excused: int = 0  # deliveries that read something loosely and so are outside equality

    @property
    def compared(self) -> int:
        """Return how many things were compared."""
        return self.inputs + self.deliveries + self.events + self.rows + self.figures

    def add(self, other: "Amounts") -> None:
        """Add another's counts."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def compared(reference: Run, found: Run, loose: Loose = frozenset()) -> tuple[Amounts, list[Difference]]:
    """Return what was compared and the differences, the first in causal order first.

    What only follows from a loose read is none: the app has declared that it may vary.
    """
    counts = Amounts(runs=1, repeats=found.repeats, doubled=found.doubled)
    differences = own(found)
    differences += Stepwise(reference, found, counts, loose).differences()
    counts.rows, counts.figures = _size(reference.tables), _size(reference.views)
    for more in (
        _outcomes(reference, found, counts, {difference.where for difference in differences}),
        _rows("table", reference.tables, found.tables),
        _rows("view", reference.views, found.views),
    ):
        follows = bool(differences or counts.excused)
        differences += [msgspec.structs.replace(difference, follows=follows) for difference in more]
    return counts, [d for d in differences if not (d.follows and counts.excused)]


def _size(rows: Rows) -> int:
    return sum(map(len, rows.values()))


def own(run: Run) -> list[Difference]:
    """Return what is wrong in one run by itself."""
    return [Difference(flaw.where, flaw.what, flaw.symptom) for flaw in run.flaws]


class Stepwise:
    """The steps of two runs, side by side in causal order."""

    def __init__(self, reference: Run, found: Run, counts: Amounts, loose: Loose) -> None:
        """Count into `counts`."""
        self.ours: Steps = {(step.rank, step.path, step.title): step for step in reference.steps}
        self.theirs: Steps = {(step.rank, step.path, step.title): step for step in found.steps}
        self.views, self.tables = set(reference.views), set(reference.tables)
        self.counts, self.loose = counts, loose
        self.spoiled: set[str] = set()  # tables that an earlier step has left otherwise
        self.altered = False  # whether an earlier step has published otherwise, so that views may differ, too

    def differences(self) -> Iterator[Difference]:
        """Yield each step that did something else, or ran on one side only."""
        for key in sorted({*self.ours, *self.theirs}):
            one, other = self.ours.get(key), self.theirs.get(key)
            if one is None or other is None:
                yield self._lone(key, here=one is None)
                self.altered = True
                continue
            self.counts.deliveries += 1
            self.counts.events += len(one.events)
            if one.did != other.did:
                yield from self._blamed(one, other)
                self.altered |= one.events != other.events
                if one.writes != other.writes:
                    self.spoiled |= {table for table, *_ in (*one.writes, *other.writes)}

    def _lone(self, key: Key, *, here: bool) -> Difference:
        """Return the difference of a step that only one side has; it follows from what its publisher did."""
        rank, path, title = key
        parent, _, last = path.rpartition("/")
        above = (rank, parent, last.partition("#")[0])
        one, other = self.ours.get(above), self.theirs.get(above)
        sound = not path or (one is not None and other is not None and one.events == other.events)
        what = f"it ran on input {rank} {'here' if here else 'in the reference'} only"
        return Difference(title, what, "events", rank, not sound)

    def _blamed(self, one: Step, other: Step) -> Iterator[Difference]:
        """Yield who is to blame that two steps did not do the same; nobody, after a loose read."""
        where, given = other.title, f"on {other.kind} {brief(other.body)}".rstrip()
        if one.body != other.body:
            yield Difference(where, f"{given}: it was given something else", rank=other.rank, follows=True)
            return
        for ours, theirs in zip_longest(one.tape, other.tape):
            if ours == theirs:
                continue
            if ours and theirs and (ours[0].rstrip("!"), ours[1]) == (theirs[0].rstrip("!"), theirs[1]):
                if (where.partition(".")[0], ours[0].partition(".")[0]) in self.loose:
                    self.counts.excused += 1
                else:
                    yield self._misread(one, other, given, (ours, theirs))
                return
            break
        found = _done(one, other)
        yield Difference(where, f"{given}: {found.words}", found.symptom, other.rank)

    def _misread(self, one: Step, other: Step, given: str, reads: tuple[Any, Any]) -> Difference:
        """Return the blame when the steps asked the same and a table, view or query answered otherwise."""
        (what, asked, ours), (_, _, theirs) = reads
        found, (name, _, _) = contrast(decoded(ours), decoded(theirs)), what.rpartition(".")
        key = brief(asked)
        if (late := next((kind for kind in _raised(reads) if kind in LOAD), "")) and ours != theirs:
            says = f"{given}: {what.rstrip('!')}({key}) ended with {late} there, and it did not pass that on"
            return Difference(other.title, says, "load", other.rank)
        if name in self.tables:
            says = f"{given}: it read {name}{f'[{key}]' if key else ''} as {found.words}"
            return Difference(other.title, says, "read", other.rank, name in self.spoiled)
        if name in self.views:
            figure = _figure(decoded(ours), decoded(theirs))
            says = f"{given}, read by {other.title} for {key.rpartition(', ')[0]}: {found.words}"
            return Difference(
                f"{name}.{figure}" if figure else name, says, found.symptom, other.rank, self.altered
            )
        says = f"asked by {other.title} for ({key}): it answered {found.words}"
        return Difference(
            what.rstrip("!"), says, found.symptom, other.rank, self.altered or bool(self.spoiled)
        )


def _figure(one: Any, other: Any) -> str:
    parted = (name for name in one if one[name] != other.get(name)) if isinstance(one, dict) else iter(())
    return next(parted, "")


def _done(one: Step, other: Step) -> Contrast:
    """Return the first thing that two steps of one name did not do alike."""
    if one.error != other.error:
        ours, theirs = one.error or "an answer", other.error or "an answer"
        symptom: Symptom = "load" if _loaded(ours, theirs) else "error"
        return Contrast(f"it ended with {theirs:.60}, not {ours:.60}", symptom)
    if one.events != other.events:
        wanted, got = ([kind for kind, _ in step.events] for step in (one, other))
        if wanted != got:
            return Contrast(f"it published {_names(got)}, not {_names(wanted)}", "events")
        kind, mine, yours = next(
            (a[0], a[1], b[1]) for a, b in zip(one.events, other.events, strict=True) if a != b
        )
        found = contrast(decoded(mine), decoded(yours))
        return Contrast(f"it published {kind} with {found.words}", found.symptom)
    if one.writes != other.writes:
        return _written(one, other)
    found = contrast(decoded(one.answer), decoded(other.answer))
    return Contrast(f"it answered {found.words}", found.symptom)


def _loaded(*said: str) -> bool:
    """Return whether an error says that the machine was too busy, and nothing of the input."""
    return any(text.partition(":")[0] in LOAD for text in said)


def _raised(reads: tuple[Any, Any]) -> Iterator[str]:
    """Yield the class names of the errors among two entries of a tape."""
    yield from (decoded(answer)[0] for what, _, answer in reads if what.endswith("!"))


def _names(kinds: list[str]) -> str:
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "nothing"


def _written(one: Step, other: Step) -> Contrast:
    ours = {(table, key): row for table, key, row in one.writes}
    theirs = {(table, key): row for table, key, row in other.writes}
    for table, key in sorted({*ours, *theirs}):
        mine, yours = ours.get((table, key)), theirs.get((table, key))
        if mine != yours:
            found = contrast(decoded(mine), decoded(yours))
            return Contrast(f"it wrote {table}[{shown(key)}] as {found.words}", found.symptom)
    return Contrast("it wrote the same rows in another order", "order")


def _outcomes(reference: Run, found: Run, counts: Amounts, known: set[str]) -> Iterator[Difference]:
    """Yield what callers got otherwise; that of a command was found among the steps already."""
    for number, (one, other) in enumerate(zip(reference.outcomes, found.outcomes, strict=True), 1):
        if other == ("", ""):  # asked of an earlier life of a run that was killed
            continue
        counts.inputs += 1
        if one != other and other[0] not in known:
            alike: Symptom = "order" if sorted(one[1]) == sorted(other[1]) else "value"
            symptom: Symptom = "load" if _loaded(one[1], other[1]) else alike
            yield Difference(
                other[0], f"input {number} got {other[1]:.70}, not {one[1]:.70}", symptom, number
            )


def _rows(kind: str, ours: Rows, theirs: Rows) -> Iterator[Difference]:
    """Yield the rows, or readings of a view, that end otherwise."""
    for name in sorted({*ours, *theirs}):
        one, other = ours.get(name, {}), theirs.get(name, {})
        for key in sorted({*one, *other}):
            if one.get(key) != other.get(key):
                found = contrast(decoded(one.get(key)), decoded(other.get(key)))
                yield Difference(name, f"{kind} row {key!r} ends as {found.words}", found.symptom, LAST)
