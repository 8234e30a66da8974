"""Laws: an aggregate that is not ours must give one answer however its events are grouped and ordered."""

from collections.abc import Iterable, Iterator
from functools import reduce
from random import Random
from typing import Any

from allotrope.kernel import codec
from allotrope.kernel.aggregates import Aggregate
from allotrope.kernel.components import App
from allotrope.kernel.views import View
from allotrope.runtime.records import Record

OURS = "allotrope."


def broken(app: App, records: Iterable[Record]) -> Iterator[tuple[str, str]]:
    """Yield (`View.aggregate`, what differs) for each of the app's own aggregates, tried on the events of a run."""
    consumed = {(record.origin, record.path): (record.kind, record.body) for record in records}
    for component in app.components.values():
        if not issubclass(component.kind, View):
            continue
        for aggregate in component.kind.__aggregates__:
            if type(aggregate).__module__.startswith(OURS):
                continue
            kinds = {source.__name__: source for source in component.sources()}
            events = [codec.decode(body, kinds[kind]) for kind, body in consumed.values() if kind in kinds]
            values = [getattr(event, aggregate.field) if aggregate.field else None for event in events]
            if fault := _fault(aggregate, values):
                yield f"{component.name}.{aggregate.name}", fault


def _fault(aggregate: Aggregate[Any], values: list[Any]) -> str:
    """Return how the results of two groupings differ, or ""."""
    chance = Random(len(values))
    marks = [(index, index, "") for index in range(len(values))]
    whole = _folded(aggregate, list(zip(values, marks, strict=True)))
    for _ in range(20 if values else 0):
        marked = list(zip(values, marks, strict=True))
        chance.shuffle(marked)
        cuts = sorted(chance.randrange(len(values) + 1) for _ in range(3))
        parts = [marked[a:b] for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True)]
        merged = reduce(aggregate.merge, [_folded(aggregate, part) for part in parts])
        one, other = aggregate.result(whole), aggregate.result(merged)
        if one != other:
            return f"{len(values)} values merged in another order and grouping give {other!r}, not {one!r}; make it exact"
    return ""


def _folded(aggregate: Aggregate[Any], marked: list[tuple[Any, tuple[int, int, str]]]) -> Any:
    state = aggregate.zero()
    for value, mark in marked:
        state = aggregate.add(state, value, mark)
    return state
