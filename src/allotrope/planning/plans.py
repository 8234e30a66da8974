"""The plan: an app and a topology that fit, or every reason why they do not."""

from collections.abc import Iterator

import msgspec

from allotrope.kernel.components import App
from allotrope.kernel.errors import PlanRefused
from allotrope.planning.boundaries import boundary_faults
from allotrope.planning.documents import Document, Finding, finding
from allotrope.planning.doors.waiting import waiting_warnings
from allotrope.planning.facts import Body, Facts, facts_of, place_in
from allotrope.planning.graph import Graph, Reach, graph_of
from allotrope.planning.layout import forgetful, layout_faults, settings_of, units_of
from allotrope.planning.streams import stream_faults
from allotrope.planning.topology import Topology, Unit, topology_of
from allotrope.planning.values import value_faults

_CLOCK = {
    "time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime", "datetime.date.today",
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today",
}  # fmt: skip
_CHANCE = {"uuid.uuid1", "uuid.uuid4", "os.urandom", "posix.urandom", "nt.urandom"}
_CHANCE_MODULES = ("random.", "secrets.", "numpy.random.")
_SEEDED = {"random.Random", "numpy.random.default_rng", "numpy.random.Generator", "numpy.random.SeedSequence"}
EXAMINE = "__examine__"  # of a component class that knows more of its faults than its operations show
_LOG_S = 0.005  # an append, a commit and a reply through a durable log take about this long


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """An app that fits its topology, and what is known before it runs. A title is `Component.operation`."""

    name: str  # of the topology
    app: App
    document: Document  # the topology as it was written
    topology: Topology
    units: dict[
        str, tuple[str, ...]
    ]  # unit -> the components that it runs; `topology.unit` has the same keys
    calls: dict[str, tuple[Reach, ...]]  # title -> (field, component, operation) of each call
    reads: dict[
        str, tuple[str, ...]
    ]  # title -> views it waits for, its own and those of the queries it reaches
    downstream: dict[str, tuple[str, ...]]  # component -> components that events lead to, views included
    loose: tuple[
        tuple[str, str, str], ...
    ]  # (component, field, what it names) read as they are: outside equality
    unrepeatable: tuple[str, ...]  # titles whose answer is recorded before it is used
    warnings: tuple[str, ...] = ()

    @property
    def apart(self) -> bool:
        """Return whether its units are processes of their own."""
        return _is_apart(self.topology, len(self.units))


def _is_apart(topology: Topology, units: int) -> bool:
    return units > 1 or any(
        unit.replicas != (1, 1) or unit.foreign or unit.app for unit in topology.unit.values()
    )


def plan(app: App, document: Document) -> Plan:
    """Return the plan of an app under a topology. Raises PlanRefused with every fault, in order of place."""
    topology, faults = topology_of(document)
    facts = facts_of(app)
    graph, missing = graph_of(facts)
    settings, unset = settings_of(facts, topology, document)
    faults += [*facts.unread, *missing, *unset]
    for found in (value_faults(facts), stream_faults(facts), boundary_faults(facts)):
        faults += found
    faults += layout_faults(facts, topology, document, graph.calls)
    faults += [found for fatal, found in _examined(facts) if fatal]
    faults = faults or list(forgetful(facts, topology, document))
    if faults:
        doubts = sorted({doubt for _, body in facts.bodies() for doubt in _unrepeatable(body)})
        beside = ["and allowed, but likely to be regretted", *(f"  {doubt}" for doubt in doubts)]
        lines = tuple(map(str, sorted(set(faults))))
        raise PlanRefused(document.name, lines, tuple(beside if doubts else ()))
    images = {
        title: msgspec.structs.replace(
            topology.unit.get(title) or _each(topology, title), components=names, each=False
        )
        for title, names in units_of(facts, topology).items()
    }
    return Plan(
        name=document.name,
        app=app,
        document=document,
        topology=msgspec.structs.replace(topology, setting=settings, unit=images),
        units={title: image.components for title, image in images.items()},
        calls=graph.calls,
        reads=graph.reads,
        downstream=graph.downstream,
        loose=graph.loose,
        unrepeatable=tuple(body.title for _, body in facts.bodies() if not body.operation.repeatable),
        warnings=tuple(map(str, sorted(set(_warnings(facts, topology, document, graph))))),
    )


def _each(topology: Topology, component: str) -> Unit:
    """Return the unit that stands for one of each of its components."""
    whole = [unit for unit in topology.unit.values() if unit.each]
    return next((unit for unit in whole if component in unit.components), whole[0])


def _warnings(facts: Facts, topology: Topology, document: Document, graph: Graph) -> Iterator[Finding]:
    """Yield what is allowed and yet likely to be regretted."""
    yield from (found for fatal, found in _examined(facts) if not fatal)
    for _, body in facts.bodies():
        yield from _unrepeatable(body)
        yield from _uncaught(facts, body, graph)
        if body.operation.kind == "command" and not body.operation.key:
            text = f"command {body.title} has no key, so its calls run one at a time; @command(key=...)"
            yield finding(body.operation.place, text)
        yield from _hasty(body, topology)
    called = {
        (title.partition(".")[0], reach.component) for title, made in graph.calls.items() for reach in made
    }
    for edge in topology.edge:
        caller, _, callee = (part.strip() for part in edge.partition("->"))
        if edge != "*" and (caller, callee) not in called:
            text = f"edge `{edge}` has no effect: {caller} never calls {callee}"
            yield finding(document.place("edge", edge), text)
    for part in facts.parts.values():
        for field in part.fields.values():
            if field.latest:
                text = f"{part.name}.{field.name} is read without waiting, and nothing holds it to its bound yet, "
                yield finding(
                    part.place, f"{text}{field.latest.staleness_s:g} s; drop Latest where that matters"
                )
    yield from waiting_warnings(facts, topology, document, graph.calls)
    yield from _unit_warnings(topology, document, units_of(facts, topology))


def _examined(facts: Facts) -> Iterator[tuple[bool, Finding]]:
    """Yield what components have found of themselves, and whether it is a fault."""
    for part in facts.parts.values():
        if examine := getattr(part.component.kind, EXAMINE, None):
            for fatal, place, text in examine(facts.app):
                yield fatal, finding(place, text)


def _unit_warnings(
    topology: Topology, document: Document, units: dict[str, tuple[str, ...]]
) -> Iterator[Finding]:
    for name in topology.resilience if len(units) == 1 else ():
        text = f"resilience of `{name}` has no effect: all components run in one process"
        yield finding(document.place("resilience", name), text)
    for title, unit in topology.unit.items():
        if unit.replicas[0] == 0:
            text = f"unit `{title}` may have 0 replicas, but keeps 1: nothing starts one when it is asked for"
            yield finding(document.place("unit", title, "replicas"), text)
        if unit.sidecars and not _is_apart(topology, len(units)):
            text = f"unit `{title}` gets no sidecar {', '.join(unit.sidecars)}: only one in a process of its own does"
            yield finding(document.place("unit", title, "sidecars"), text)
    for title, names in units.items():
        place = document.place("unit", title)
        if not names:
            yield finding(place, f"unit `{title}` runs no component")
        elif len(names) > 1 and topology.unit[title].gpu:
            text = f"unit `{title}` has a GPU and runs {len(names)} components; infer in a unit of its own"
            yield finding(document.place("unit", title, "gpu"), text)


def _unrepeatable(body: Body) -> Iterator[Finding]:
    for function, mention in body.mentioned:
        if mention.own:
            continue
        title, written = mention.title, ".".join(mention.names)
        place = place_in(function, mention)
        if title in _CLOCK:
            text = f"{body.title} reads the wall clock, `{written}`, so a replay differs; "
            yield finding(place, f"{text}take the event's time, or a field `clock: Clock`")
        elif title in _CHANCE or (title.startswith(_CHANCE_MODULES) and title not in _SEEDED):
            text = f"{body.title} draws unseeded chance, `{written}`, so a replay differs; "
            yield finding(place, f"{text}use a field `chance: Chance`")


def _uncaught(facts: Facts, body: Body, graph: Graph) -> Iterator[Finding]:
    """Yield a warning for each fault of a callee that is neither caught nor declared: it becomes Failed."""
    named = [mention.values[-1] for _, mention in body.mentioned if not mention.called]
    caught = tuple(kind for kind in named if isinstance(kind, type) and issubclass(kind, BaseException))
    if any({"Exception", "BaseException"} & {*function.__code__.co_names} for function, _ in body.mentioned):
        return
    for reach in dict.fromkeys((reach.component, reach.operation) for reach in graph.calls[body.title]):
        callee = facts.parts[reach[0]].bodies[reach[1]]
        for fault in callee.operation.faults:
            if not issubclass(fault, (*caught, *body.operation.faults)):
                text = (
                    f"{body.title} calls {callee.title}, which may raise {fault.__name__}; "
                    "catch it or declare it, else the caller sees Failed"
                )
                yield finding(body.operation.place, text)


def _hasty(body: Body, topology: Topology) -> Iterator[Finding]:
    limit = topology.limit_of(body.operation.component).deadline_s
    deadline = body.operation.deadline_s or limit
    if body.operation.kind == "command" and topology.durability != "none" and deadline and deadline < _LOG_S:
        text = (
            f"command {body.title} must answer within {deadline * 1000:g} ms, but waits for a durable log; "
            f"allow {_LOG_S * 1000:g} ms, or make it a query"
        )
        yield finding(body.operation.place, text)
