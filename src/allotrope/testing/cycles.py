"""Cycles among what clients did: no serial order could have given them those answers.

Each act appends values to the ends of keys and reads whole keys; what it read tells, by its last value, which appends
came before it and which after. Not here: acts that read in other ways than lists, and the cheaper checks (`history`).

Source: Kingsbury & Alvaro, Elle: Inferring Isolation Anomalies from Experimental Observations, VLDB 14(3), 2020;
the names are those of Adya's thesis, Weak Consistency, MIT 1999.
"""

import graphlib
import math
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Literal

import msgspec

Edges = dict[int, dict[int, str]]  # act -> act that comes after it -> why


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """What one client did at once, as it saw it: what it put at the ends of keys, and what it read of keys before.

    `fail` means that certainly nothing was done, `unknown` that nobody can tell; then `ended` is infinite.
    """

    client: str
    began: float  # seconds, on one clock for all
    ended: float = math.inf
    end: Literal["ok", "fail", "unknown"] = "unknown"
    appends: tuple[tuple[str, str], ...] = ()  # (key, value); no value is given twice to a key
    reads: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (key, all of its values, in order)

    def __str__(self) -> str:
        """Return who did what, with its times."""
        what = ", ".join(
            [*(f"{k}+{v}" for k, v in self.appends), *(f"{k}={','.join(v)}" for k, v in self.reads)]
        )
        return f"{self.client}: {what:.120}, {self.began:.6f}..{self.ended:.6f} {self.end}"


class Finding(msgspec.Struct, frozen=True):
    """Something that must not be: what it is called, and who and where in words."""

    name: str
    text: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.name}: {self.text}"


def cycles(acts: Sequence[Act]) -> Iterator[Finding]:
    """Yield what no serial order explains: at most one cycle of each kind, and all reads that fit no order at all.

    G0: writes; G1a: a refused one was read; G1b: half of an act was read; G1c: writes and reads; G-single: one read of
    what was replaced; G2: several. With `-realtime` the cycle needs that an act which ended before another began is
    before it. `split`: two reads of a key of which neither continues the other.
    """
    orders = {}
    for key, seen in _seen(acts).items():
        longest = max(seen, key=lambda pair: len(pair[1]))
        orders[key] = longest[1]
        for act, values in seen:
            if values != longest[1][: len(values)]:
                yield Finding("split", f"{key!r}: {act}; {longest[0]}")
    yield from _unsound(acts)
    before, after = _edges(acts, orders)
    for name, graph in (("G0", _only(before, "ww")), ("G1c", before)):
        if (cycle := _cycle(graph)) is not None:
            yield _told(name, cycle, acts, graph)
            return  # any other is one with it
    found = _anti(acts, before, after) or _anti(acts, _joined(before, _timed(acts)), after, "-realtime")
    if found is not None:
        yield found


def _seen(acts: Sequence[Act]) -> dict[str, list[tuple[Act, tuple[str, ...]]]]:
    found: dict[str, list[tuple[Act, tuple[str, ...]]]] = defaultdict(list)
    for act in acts:
        for key, values in act.reads:
            found[key].append(
                (act, tuple(dict.fromkeys(values)))
            )  # one that is there twice is a finding of its own
    return found


def _unsound(acts: Sequence[Act]) -> Iterator[Finding]:
    """Yield reads of what was refused, and reads that end in the middle of an act."""
    writers: dict[tuple[str, str], Act] = {}
    for act in sorted(acts, key=lambda act: act.end != "fail"):  # one that was sent again may have been taken
        writers |= dict.fromkeys(act.appends, act)
    last = {(act, key): value for act in acts for key, value in act.appends}
    for act in acts:
        for key, values in act.reads:
            for value in values:
                writer = writers.get((key, value))
                if writer is not None and writer.end == "fail":
                    yield Finding(
                        "G1a", f"[{act}] has read {value!r} of {key!r}, which was refused: [{writer}]"
                    )
            writer = writers.get((key, values[-1])) if values else None
            if writer is not None and writer != act and last[writer, key] != values[-1]:
                yield Finding("G1b", f"[{act}] has read {key!r} up to {values[-1]!r}, the half of [{writer}]")


def _edges(acts: Sequence[Act], orders: dict[str, tuple[str, ...]]) -> tuple[Edges, Edges]:
    """Return who must be before whom: by writes and reads, and by reads of what was replaced later."""
    writers = {
        (key, value): number
        for number, act in enumerate(acts)
        if act.end != "fail"
        for key, value in act.appends
    }
    for number, act in enumerate(acts):  # one that was sent again has one effect: of who was answered
        if act.end == "ok":
            writers |= dict.fromkeys(act.appends, number)
    before: Edges = defaultdict(dict)
    after: Edges = defaultdict(dict)

    def edge(edges: Edges, one: int | None, other: int | None, why: str) -> None:
        if one is not None and other is not None and one != other:
            edges[one].setdefault(other, why)

    for key, order in orders.items():
        for value, following in pairwise(order):
            edge(before, writers.get((key, value)), writers.get((key, following)), f"ww {key}")
    for number, act in enumerate(acts):
        for key, seen in act.reads:
            values, order = tuple(dict.fromkeys(seen)), orders[key]
            if values:
                edge(before, writers.get((key, values[-1])), number, f"wr {key}")
            if len(values) < len(order) and values == order[: len(values)]:
                edge(after, number, writers.get((key, order[len(values)])), f"rw {key}")
    return before, after


def _anti(acts: Sequence[Act], before: Edges, after: Edges, suffix: str = "") -> Finding | None:
    """Return the shortest cycle with one edge of `after`, else one with several or none, else nothing."""
    both = _joined(before, after)
    if (cycle := _cycle(both)) is None:
        return None
    ways = [_way(before, other, one) for one, others in after.items() for other in others]
    single = min((way for way in ways if way is not None), key=len, default=None)
    if single is not None:
        return _told(f"G-single{suffix}", single, acts, both)
    several = any(other in after.get(one, {}) for one, other in _rounds(cycle))
    return _told(("G2" if several else "G1c") + suffix, cycle, acts, both)


def _timed(acts: Sequence[Act]) -> Edges:
    """Return who had ended before who began; what follows from others of these is left out."""
    ended = sorted((act.ended, number) for number, act in enumerate(acts) if act.end == "ok")
    latest = list(accumulate((acts[number].began for _, number in ended), max))
    found: Edges = defaultdict(dict)
    for number, act in enumerate(acts):
        if act.end == "fail":
            continue
        until = bisect_left(ended, (act.began, -1))
        if until:
            since = bisect_left(ended, (latest[until - 1], -1))
            for _, earlier in ended[since:until]:
                found[earlier][number] = "time"
    return found


def _only(edges: Edges, why: str) -> Edges:
    return {
        one: {b: how for b, how in others.items() if how.startswith(why)} for one, others in edges.items()
    }


def _joined(one: Edges, other: Edges) -> Edges:
    return {number: {**other.get(number, {}), **one.get(number, {})} for number in {*one, *other}}


def _cycle(edges: Edges) -> list[int] | None:
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        found: list[int] = error.args[1][:0:-1]  # it goes from what comes after to what comes before
        return found
    return None


def _way(edges: Edges, start: int, goal: int) -> list[int] | None:
    """Return the shortest way from one act to another, without the goal twice."""
    came: dict[int, int] = {start: start}
    queue = deque([start])
    while queue:
        number = queue.popleft()
        if number == goal:
            way = [number]
            while way[-1] != start:
                way.append(came[way[-1]])
            return way[::-1]
        for following in edges.get(number, {}):
            if following not in came:
                came[following] = number
                queue.append(following)
    return None


def _rounds(cycle: Sequence[int]) -> Iterator[tuple[int, int]]:
    return pairwise([*cycle, cycle[0]])


def _told(name: str, cycle: Sequence[int], acts: Sequence[Act], edges: Edges) -> Finding:
    steps = [f"[{acts[one]}] -{edges.get(one, {}).get(other, '?')}->" for one, other in _rounds(cycle)]
    return Finding(name, " ".join([*steps, "the first again"]))
