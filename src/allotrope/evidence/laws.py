"""Laws: an aggregate that is not ours must give one answer however its events are grouped and ordered."""

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from random import Random
from typing import Any

from allotrope.kernel.aggregates import Aggregate
from allotrope.kernel.components import App
from allotrope.kernel.messages import Event
from allotrope.kernel.views import View

OURS = "allotrope."
ENOUGH = 500  # events on which a law is tried
Marked = Sequence[tuple[Any, tuple[int, int, str]]]


def broken(app: App, events: Iterable[Event]) -> Iterator[tuple[str, str]]:
    """Yield (`View.aggregate`, what differs) for the app's own aggregates, tried on a run's events."""
    seen = tuple(events)
    for component in app.components.values():
        if not issubclass(component.kind, View):
            continue
        sources = component.sources()
        counted = [event for event in seen if isinstance(event, sources)][:ENOUGH]
        for aggregate in component.kind.__aggregates__:
            if type(aggregate).__module__.startswith(OURS) or _orderly(aggregate):
                continue
            values = [getattr(event, aggregate.field) if aggregate.field else None for event in counted]
            if fault := _fault(aggregate, values):
                yield f"{component.name}.{aggregate.name}", fault


def _orderly(aggregate: Aggregate[Any]) -> bool:
    """Return whether it only sees a window's values, in the order of time: it is never merged."""
    return aggregate.window is not None and type(aggregate).over is not Aggregate.over


def _fault(aggregate: Aggregate[Any], values: Sequence[Any]) -> str:
    """Return how the results of two groupings differ, or ""."""
    chance = Random(len(values))
    marked = [(value, (place, place, "")) for place, value in enumerate(values)]
    whole = aggregate.result(_folded(aggregate, marked))
    for _ in range(20 if values else 0):
        shuffled = chance.sample(marked, len(marked))
        cuts = sorted(chance.randrange(len(values) + 1) for _ in range(3))
        parts = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(values)], strict=True)]
        other = aggregate.result(reduce(aggregate.merge, [_folded(aggregate, part) for part in parts]))
        if other != whole:
            return f"{len(values)} values merged in another order give {other!r:.60}, not {whole!r:.60}"
    return ""


def _folded(aggregate: Aggregate[Any], marked: Marked) -> Any:
    state = aggregate.zero()
    for value, mark in marked:
        state = aggregate.add(state, value, mark)
    return state
