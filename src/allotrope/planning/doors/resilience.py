"""Whether what a topology says of calls that fail can be kept, and what it makes of answers."""

from collections.abc import Iterator

from allotrope.kernel.errors import nearest
from allotrope.kernel.operations import Operation
from allotrope.planning.documents import Document, Finding, finding
from allotrope.planning.facts import Facts
from allotrope.planning.topology import Resilience, Topology

_LEAST = {
    "deadline_s": 0.001,
    "retries": 0.0,
    "breaker": 0,
    "window_s": 0.001,
    "open_s": 0.001,
    "concurrency": 0,
}


def resilience_faults(facts: Facts, topology: Topology, document: Document) -> Iterator[Finding]:
    """Yield a fault for each name that is not there, each size that cannot be, each fallback that does not fit."""
    queries = queries_of(facts)
    known = {"*", *facts.parts, *topology.unit, *queries}
    for name, wanted in topology.resilience.items():
        place = document.place("resilience", name)
        if name not in known:
            text = f"resilience of `{name}`, which is no component, unit or query. {nearest(name, known)}"
            yield finding(place, text)
        for key, least in _LEAST.items():
            value = getattr(wanted, key)
            if value is not None and not value >= least:
                text = f"resilience of `{name}` has {key} = {value}; it must be at least {least:g}"
                yield finding(document.place("resilience", name, key), text)
        if wanted.fallback:
            yield from _fallback(name, wanted, topology, document, queries)


def queries_of(facts: Facts) -> dict[str, Operation]:
    """Return the queries of an app by title: what may be asked from another unit."""
    return {body.title: body.operation for _, body in facts.bodies() if body.operation.kind == "query"}


def _fallback(
    name: str, wanted: Resilience, topology: Topology, document: Document, queries: dict[str, Operation]
) -> Iterator[Finding]:
    place, other = document.place("resilience", name, "fallback"), wanted.fallback
    if name not in queries:
        text = f"resilience of `{name}` has a fallback; only one query can fall back on another: name it, "
        yield finding(place, f'{text}as in [resilience."Component.operation"]')
        return
    if other not in queries or other == name:
        where = "itself" if other == name else f"`{other}`, which is no query. {nearest(other, queries)}"
        yield finding(place, f"`{name}` falls back on {where}")
        return
    one, two = queries[name], queries[other]
    if one.streams or two.streams:
        yield finding(
            place, f"`{name}` falls back on `{other}`, but a stream cannot be taken up in its middle"
        )
    elif [*one.parameters().values(), one.result()] != [*two.parameters().values(), two.result()]:
        text = f"`{name}` falls back on `{other}`, which takes or gives other types; give it the same ones"
        yield finding(place, text)
    if topology.resilience.get(other, Resilience()).fallback:
        yield finding(
            place, f"`{name}` falls back on `{other}`, which falls back itself; one step is the most"
        )
