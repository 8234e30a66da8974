"""Wiring: instances of the components, with proxies, tables and views in the fields that ask for them.

Components whose home is elsewhere are met through the same doors; `Afar` says how their bodies are reached.
"""

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import msgspec

from allotrope.kernel.components import App, Chance, Clock, Component, Field
from allotrope.kernel.operations import Operation
from allotrope.kernel.tables import Table
from allotrope.kernel.views import View
from allotrope.planning.plans import Plan
from allotrope.planning.topology import Limit, Resilience
from allotrope.runtime.doors.dispatch import Door, Proxy, Services
from allotrope.runtime.doors.limits import Budget, Slots, repeating
from allotrope.runtime.doors.queues import Queue
from allotrope.runtime.doors.shields import Shield
from allotrope.runtime.tracing import Tracer
from allotrope.storage.ports import Ledger

Ask = Callable[..., Any]
Link = Callable[[Operation, Ask], Ask]  # a transport: the face of an operation on the caller's side


class Afar(Protocol):
    """How to reach what has its home in another process."""

    def body(self, operation: Operation) -> Callable[..., Any]:
        """Return what stands for the body of an operation."""

    def view(self, kind: type[View[Any]], tracer: Tracer) -> Any:
        """Return what stands for a view."""


class Links(msgspec.Struct, frozen=True):
    """How what is wired together meets: transports by the way of an edge, and what is elsewhere."""

    via: Mapping[str, Link]
    away: frozenset[str] = frozenset()  # components whose home is another process
    afar: Afar | None = None


class Wiring:
    """The components of one process, built and connected; doors by operation title, one per replica."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger | None,
        services: Services,
        links: Links,
        replicas: int = 1,
    ):
        """Build in the order of dependencies; call cycles were refused by the plan."""
        self.plan, self.app, self.topology = plan, plan.app, plan.topology
        self.ledger, self.services, self.links, self.replicas = ledger, services, links.via, replicas
        self.doors: dict[str, list[Door]] = {}
        self.views: dict[str, View[Any]] = {}
        self.instances: dict[str, list[Any]] = {}
        self.afar, self.home = links.afar, frozenset(self.app.components) - links.away
        self._unit = {name: unit for unit, names in plan.units.items() for name in names}
        self._far_views: dict[str, Any] = {}
        for component in self.app.components.values():
            if issubclass(component.kind, View) and component.name in self.home:
                self.views[component.name] = component.kind()
        for component in self.app.components.values():
            self._build(component)

    def view(self, name: str) -> Any:
        """Return a view, or what stands for it."""
        if name in self.home:
            return self.views[name]
        if name not in self._far_views:
            assert self.afar is not None
            self._far_views[name] = self.afar.view(self.app.components[name].kind, self.services.tracer)
        return self._far_views[name]

    def _build(self, component: Component) -> None:
        if component.is_view or component.name in self.instances:
            return
        limit = self.topology.limit_of(component.name)
        self.instances[component.name] = []
        if component.name not in self.home:
            self._away(component, limit)
            return
        slots = Slots(component.name, limit.concurrency, limit.queue)
        for _ in range(self.replicas):
            needs = {f.name: made for f in component.fields if (made := self._made(component, f)) is not None}
            instance = component.kind(**needs)
            self.instances[component.name].append(instance)
            for operation in component.operations:
                door = Door(operation, instance, slots, self.services)
                door.hurry(limit.deadline_s)
                self.doors.setdefault(operation.title, []).append(door)

    def _away(self, component: Component, limit: Limit) -> None:
        """Make the doors of a component elsewhere; this process takes as many places as all replicas have."""
        assert self.afar is not None
        unit = self._unit[component.name]
        places = self.topology.resilience_of(component.name, unit).concurrency
        places = places or limit.concurrency * max(1, self.topology.unit[unit].replicas[1])
        slots = Slots(component.name, places, limit.queue)
        for operation in component.operations:
            wanted = self.topology.resilience_of(operation.title, unit)
            if operation.title in self.topology.resilience and wanted.concurrency:
                slots = Slots(operation.title, wanted.concurrency, limit.queue)
            door = Door(operation, None, slots, self.services, self.afar.body(operation))
            door.hurry(limit.deadline_s)
            if operation.kind == "query" and not operation.streams and wanted != Resilience():
                other = partial(self._instead, wanted.fallback) if wanted.fallback else None
                door.body = Shield(operation.title, door.body, wanted, door.meter, other).ask
            if operation.kind == "query" and not operation.streams and self._queued(component.name):
                door.body = Queue(door.body, door.meter).ask
            self.doors[operation.title] = [door]

    def _queued(self, callee: str) -> bool:
        """Return whether this process asks a component over a queue; the plan has made sure that it has one way."""
        return any(self.topology.edge_of(caller, callee).via == "queue" for caller in self.home or ("",))

    async def _instead(self, title: str, *arguments: Any) -> Any:
        """Ask a fallback; not before it is needed, since its door may be made later."""
        return await self.door(title, "").ask(*arguments)

    def _made(self, component: Component, field: Field) -> Any:
        """Return what the runtime puts into a field; None leaves a setting at its default."""
        if field.need == "setting":
            return self.topology.setting.get(f"{component.name}.{field.name}")
        if field.need == "table":
            (row,) = field.kind.__args__
            encoded = self.topology.durability != "none"
            return Table(component.name, field.name, row, self.ledger, encoded=encoded)
        if field.need == "view":
            return self.view(field.kind.__name__)
        if field.need == "clock":
            return Clock()
        if field.need == "chance":
            return Chance()
        provider = provider_of(self.app, field)
        self._build(provider)
        return self.proxy(provider, component.name)

    def proxy(
        self, component: Component, caller: str, told: Callable[[Operation], Ask] | None = None
    ) -> Proxy:
        """Return what `caller` holds in place of a component: its queries, and its commands where `told` makes them."""
        via = self.topology.edge_of(caller, component.name).via
        link = self.links["rpc" if via == "queue" else via]  # its door has the queue
        unit = self._unit.get(component.name, "")
        budget = Budget(self.topology.resilience_of(component.name, unit).retries)
        methods: dict[str, Ask] = {}
        for operation in component.operations:
            if operation.kind == "query":
                ask = link(operation, self._asked(operation))
                # A plain call cannot be lost on the way, and a stream cannot be taken up in its middle.
                safe = via != "call" and operation.repeatable and not operation.streams
                methods[operation.name] = repeating(ask, budget) if safe else ask
            elif operation.kind == "command" and told is not None:
                methods[operation.name] = told(operation)
        return Proxy(component.name, methods)

    def _asked(self, operation: Operation) -> Ask:
        doors = self.doors[operation.title]
        faces = [door.stream if operation.streams else door.ask for door in doors]
        if len(faces) == 1:
            return faces[0]
        turn = iter(range(1 << 62))
        return lambda *given, **named: faces[next(turn) % len(faces)](*given, **named)

    def door(self, title: str, key: str) -> Door:
        """Return the door of the replica that serves a key."""
        doors = self.doors[title]
        return doors[0] if len(doors) == 1 else doors[zlib.crc32(key.encode()) % len(doors)]


def provider_of(app: App, field: Field) -> Component:
    """Return the component that fills a field; the plan has made sure that there is one."""
    provider = app.provider(field.kind)
    assert provider is not None, f"unplanned field {field.name}"
    return provider
