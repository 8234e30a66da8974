"""Histories: what clients did, where it arrived, and every way in which the two do not agree.

    from allotrope.testing.history import Diary, History, examined, marks_of

    diary = Diary()

    async def deposit(host: Host, account: str, number: str) -> None:
        with diary.act(account, (account, number)):  # ok, or what an error says
            await host.publish(Deposit(account, number), Input(request=number))

    # later, whatever was killed in between
    history = History(diary.acts, marks_of("booked", rows_of_the_table), leads={"booked": ("heard",)})
    assert not examined(history)

Pure: it looks at what it is given, from a test, a crashed process or a live system alike. Each value is appended
once, so that all can be told apart. Not here: how to break anything (`faults`, `passages`), and cycles (`cycles`).

Source: the total-queue and set checks of Jepsen, https://jepsen.io/analyses/nats-2.12.1, and the order of real time
after Herlihy & Wing, Linearizability, TOPLAS 1990.
"""

import contextlib
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.storage.ports import Entry, Log
from allotrope.testing.cycles import Act, Finding, cycles

__all__ = ["Act", "Diary", "Finding", "History", "Mark", "examined", "log_marks", "marks_of"]

Name = Literal["lost", "phantom", "doubled", "reordered", "overtaken", "dropped", "stale", "cycles"]
Value = tuple[str, str]  # key, value


class Mark(msgspec.Struct, frozen=True):
    """One value where it has arrived. Marks of a place and key stand in the order in which they came there."""

    place: str
    key: str
    value: str
    number: int = 0  # where exactly: a position in a log, an index in a row


class History(msgspec.Struct, frozen=True):
    """All that is known of a run.

    `leads`: what has arrived at a place must arrive at these too; `parked`: what was put aside in the meantime.
    The order of keys is that of the place `log`, where there are marks of it.
    """

    acts: Sequence[Act]
    marks: Sequence[Mark] = ()
    leads: Mapping[str, Sequence[str]] = {}
    parked: frozenset[Value] = frozenset()

    def places(self) -> dict[str, dict[str, list[Mark]]]:
        """Return the marks by place and key, in their order."""
        found: dict[str, dict[str, list[Mark]]] = defaultdict(lambda: defaultdict(list))
        for mark in self.marks:
            found[mark.place][mark.key].append(mark)
        return found


class Diary:
    """Keeps what clients do, as it begins and as it ends; each line is handed to `write` before anything happens.

    A process that is killed leaves the lines that it wrote, and `read` makes acts of them: what has no end is unknown.
    """

    def __init__(
        self, write: Callable[[bytes], object] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin empty. The clock must be one for all whose diaries are put together; the default is, on one machine."""
        self.acts: list[Act] = []
        self._write, self._clock = write, clock

    @contextlib.contextmanager
    def act(self, client: str, *appends: Value) -> Iterator[dict[str, Sequence[str]]]:
        """Keep one act: ok when its block ends, fail when it is Refused, unknown with any other error.

        What the block puts into the dictionary that it is given, by key, is what the client has read.
        """
        begun = Act(client=client, began=self._clock(), appends=appends)
        self._tell(begun)
        reads: dict[str, Sequence[str]] = {}
        end: Literal["ok", "fail", "unknown"] = "unknown"
        try:
            yield reads
            end = "ok"
        except Refused:
            end = "fail"
            raise
        finally:
            seen = tuple((key, tuple(values)) for key, values in reads.items())
            act = msgspec.structs.replace(begun, end=end, ended=self._ended(end), reads=seen)
            self.acts.append(act)
            self._tell(act)

    def _ended(self, end: str) -> float:
        return math.inf if end == "unknown" else self._clock()  # it may yet take effect

    def _tell(self, act: Act) -> None:
        if self._write is not None:
            self._write(msgspec.json.encode(msgspec.structs.replace(act, ended=_finite(act.ended))) + b"\n")

    @staticmethod
    def read(lines: Iterable[bytes | str]) -> list[Act]:
        """Return the acts of some lines; of each the last thing that was written, and a torn last line not at all."""
        found: dict[tuple[str, float, tuple[Value, ...]], Act] = {}
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                act = msgspec.json.decode(line, type=Act)
                act = msgspec.structs.replace(act, ended=act.ended if act.ended >= 0 else math.inf)
                found[act.client, act.began, act.appends] = act
        return list(found.values())


def _finite(ended: float) -> float:
    return -1.0 if math.isinf(ended) else ended  # JSON has no infinity


def marks_of(place: str, rows: Mapping[str, Iterable[object]]) -> list[Mark]:
    """Return the marks of rows that hold values in the order in which they came, by key."""
    return [Mark(place, key, str(value), n) for key, values in rows.items() for n, value in enumerate(values)]


async def log_marks(log: Log, marked: Callable[[Entry], Mark | None]) -> list[Mark]:
    """Return the marks of all entries of a log; `marked` returns that of one, or None."""
    found, position = [], 0
    while entries := await log.read(position):
        found += [mark for mark in map(marked, entries) if mark is not None]
        position = entries[-1].position + 1
    return found


def attempts(acts: Iterable[Act]) -> list[Act]:
    """Return acts that were answered from the first attempt on, with the attempts left out that were not.

    The answer to one that is sent again is that of the attempt which took effect, and that may be the first.
    """
    acts = list(acts)
    answered = {act.appends for act in acts if act.end == "ok"}
    began: dict[tuple[Value, ...], float] = {}
    for act in acts:
        began[act.appends] = min(act.began, began.get(act.appends, math.inf))
    return [
        msgspec.structs.replace(act, began=began[act.appends]) if act.appends else act
        for act in acts
        if act.end == "ok" or act.appends not in answered or not act.appends
    ]


def examined(history: History, *, but: Iterable[Name] = ()) -> list[Finding]:
    """Return all that is wrong with a history, nothing when it is sound; `but` names what is not promised."""
    given = _Given(history)
    left_out = set(but)
    return [finding for name, check in CHECKS.items() if name not in left_out for finding in check(given)]


class _Given:
    """A history, with what several checks ask of it."""

    def __init__(self, history: History) -> None:
        self.history, self.acts = history, attempts(history.acts)
        self.places = history.places()
        self.began: dict[Value, float] = {}
        self.ended: dict[Value, float] = {}  # of those that were acknowledged
        self.by: dict[Value, Act] = {}
        self.ends: dict[Value, set[str]] = defaultdict(set)
        for act in history.acts:
            for given in act.appends:
                self.by[given] = act if act.end == "ok" else self.by.get(given, act)
                self.began[given] = min(act.began, self.began.get(given, math.inf))
                self.ends[given].add(act.end)
                if act.end == "ok":
                    self.ended[given] = min(act.ended, self.ended.get(given, math.inf))

    def told(self, given: Value) -> str:
        """Return who has made a value, in words."""
        act = self.by.get(given)
        return f"{given[1]!r} of {given[0]!r}" + (f" ({act})" if act is not None else "")


def _lost(given: _Given) -> Iterator[Finding]:
    """Find what was acknowledged and is nowhere that it should be: in no place that no other leads to."""
    led = {place for places in given.history.leads.values() for place in places}
    for place in given.places.keys() - led:
        there = {(mark.key, mark.value) for marks in given.places[place].values() for mark in marks}
        for value in given.ended.keys() - there:
            yield Finding("lost", f"{given.told(value)} was acknowledged and is not in `{place}`")


def _phantom(given: _Given) -> Iterator[Finding]:
    """Find what arrived and nobody sent, or what the sender was told had not been taken."""
    arrived = [
        ((mark.key, mark.value), f"in `{mark.place}` at {mark.number}") for mark in given.history.marks
    ]
    arrived += [
        ((key, value), f"read by {act}") for act in given.acts for key, seen in act.reads for value in seen
    ]
    for value, where in arrived:
        ends = given.ends.get(value)
        if ends is None:
            yield Finding("phantom", f"{value[1]!r} of {value[0]!r}, {where}, was sent by nobody")
        elif ends == {"fail"}:
            yield Finding("phantom", f"{given.told(value)} was refused, and yet is {where}")


def _doubled(given: _Given) -> Iterator[Finding]:
    """Find values that are in one place twice."""
    for place, keys in given.places.items():
        for key, marks in keys.items():
            for value, count in Counter(mark.value for mark in marks).items():
                if count > 1:
                    at = ", ".join(str(mark.number) for mark in marks if mark.value == value)
                    text = f"{given.told((key, value))} is {count} times in `{place}`: at {at}"
                    yield Finding("doubled", text)


def _reordered(given: _Given) -> Iterator[Finding]:
    """Find keys whose values have not come in the order of the log, or of their acknowledgements."""
    for place, key, marks in _sequences(given):
        places = {
            mark.value: n for n, mark in reversed([*enumerate(given.places.get("log", {}).get(key, []))])
        }
        ahead, latest = -1, Mark(place, key, "")  # the furthest in the log, and the last to begin, so far
        first = latest
        for mark in marks:
            at, begun = places.get(mark.value, -1), given.began.get((key, mark.value), -math.inf)
            if 0 <= at < ahead:
                yield _wrong(given, mark, first, "comes before it in the log")
            elif given.ended.get((key, mark.value), math.inf) < given.began.get(
                (key, latest.value), -math.inf
            ):
                yield _wrong(given, mark, latest, "had been acknowledged before that was sent")
            if at > ahead:
                ahead, first = at, mark
            if begun > given.began.get((key, latest.value), -math.inf):
                latest = mark


def _sequences(given: _Given) -> Iterator[tuple[str, str, list[Mark]]]:
    """Yield place, key and the first mark of each value there."""
    for place, keys in given.places.items():
        for key, marks in keys.items():
            first: dict[str, Mark] = {}
            for mark in marks:
                first.setdefault(mark.value, mark)
            yield place, key, list(first.values())


def _wrong(given: _Given, late: Mark, early: Mark, why: str) -> Finding:
    where = f"in `{late.place}` at {late.number}, after {early.value!r} at {early.number}"
    text = f"{given.told((late.key, late.value))} is {where}, and {why}"
    if (late.key, late.value) in given.history.parked:
        return Finding("overtaken", f"{text}: it was parked, and what follows it did not wait")
    return Finding("reordered", text)


def _dropped(given: _Given) -> Iterator[Finding]:
    """Find what has arrived at one place, and not where that leads to."""
    for place, nexts in given.history.leads.items():
        for further in nexts:
            for key, marks in given.places.get(place, {}).items():
                there = {mark.value for mark in given.places.get(further, {}).get(key, ())}
                for mark in marks:
                    if mark.value not in there:
                        where = f"is in `{place}` at {mark.number} and has not come to `{further}`"
                        yield Finding("dropped", f"{given.told((key, mark.value))} {where}")


def _stale(given: _Given) -> Iterator[Finding]:
    """Find reads that lack what was acknowledged before they began, or what their client had read before."""
    known: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for (key, value), ended in given.ended.items():
        known[key].append((ended, value))
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)  # by client and key
    for act in sorted(given.acts, key=lambda act: act.began):
        for key, values in act.reads:
            there = {*values, *(value for own, value in act.appends if own == key)}
            for ended, value in known[key]:
                if ended < act.began and value not in there:
                    text = f"{act} reads {key!r} without {value!r}, which had been acknowledged"
                    yield Finding("stale", text)
            for value in sorted(seen[act.client, key] - there):
                yield Finding("stale", f"{act} reads {key!r} without {value!r}, which it had read before")
            seen[act.client, key] |= set(values)


def _cycles(given: _Given) -> Iterator[Finding]:
    yield from cycles(given.acts)


CHECKS: dict[Name, Callable[[_Given], Iterator[Finding]]] = {
    "lost": _lost, "phantom": _phantom, "doubled": _doubled, "reordered": _reordered, "dropped": _dropped,
    "stale": _stale, "cycles": _cycles,
}  # fmt: skip
