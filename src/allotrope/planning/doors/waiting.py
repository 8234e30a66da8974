"""Waiting: what a topology lets wait, calls in queues and accepted inputs in the log, and where that cannot be."""

from collections.abc import Iterator, Mapping

from allotrope.planning.documents import Document, Finding, finding
from allotrope.planning.facts import Facts
from allotrope.planning.graph import Reach
from allotrope.planning.topology import Topology

NEED_S = 0.005  # who must answer within less has no time to wait


def waiting_faults(
    topology: Topology, document: Document, calls: Mapping[str, tuple[Reach, ...]], home: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield a fault for each thing that is to wait and has no place to."""
    if topology.reply == "accepted" and topology.durability == "none":
        text = 'reply is `accepted`, but durability is `none`, so what waits would be lost; use durability = "process"'
        yield finding(document.place("reply"), text)
    if topology.log.backlog < 1:
        text = f"log has backlog = {topology.log.backlog}; at least one input must be let in"
        yield finding(document.place("log", "backlog"), text)
    ways: dict[
        tuple[str, str], str
    ] = {}  # of the calls from a unit to a component, which has one queue there
    for caller, callee in edges_of(calls):
        via, unit = topology.edge_of(caller, callee).via, home.get(caller, "")
        if unit and unit != home.get(callee) and ways.setdefault((unit, callee), via) != via:
            text = f"unit `{unit}` calls {callee} both by `{via}` and by `{ways[unit, callee]}`; one unit has one way"
            yield finding(document.place("edge", f"{caller} -> {callee}"), text)


def waiting_warnings(
    facts: Facts, topology: Topology, document: Document, calls: Mapping[str, tuple[Reach, ...]]
) -> Iterator[Finding]:
    """Yield a warning for each call over a queue that has to be answered before it could wait."""
    seen = set[tuple[str, str]]()
    for title, reaches in calls.items():
        for reach in reaches:
            caller, callee = title.partition(".")[0], facts.parts[reach.component].bodies[reach.operation]
            limit = topology.limit_of(reach.component).deadline_s
            need = callee.operation.deadline_s or limit or NEED_S
            queued = topology.edge_of(caller, reach.component).via == "queue"
            if queued and need < NEED_S and (caller, callee.title) not in seen:
                seen.add((caller, callee.title))
                edge = f"{caller} -> {reach.component}"
                text = f"edge `{edge}` is a queue, but {callee.title} must answer within {need * 1000:g} ms; use `rpc`"
                written = ("edge", edge) if edge in topology.edge else ("edge", "*")
                yield finding(document.place(*written), text)


def edges_of(calls: Mapping[str, tuple[Reach, ...]]) -> list[tuple[str, str]]:
    """Return who calls whom, each once, in order."""
    return sorted(
        {(title.partition(".")[0], r.component) for title, reaches in calls.items() for r in reaches}
    )
