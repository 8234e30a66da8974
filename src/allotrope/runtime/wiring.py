"""Wiring: instances of the components, with proxies, tables and views in the fields that ask for them."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

from allotrope.kernel.components import App, Chance, Clock, Component, Field
from allotrope.kernel.operations import Operation
from allotrope.kernel.tables import Table
from allotrope.kernel.views import View
from allotrope.planning.plans import Plan
from allotrope.runtime.doors.dispatch import Door, Proxy, Services
from allotrope.runtime.doors.limits import Budget, Slots, repeating
from allotrope.storage.ports import Ledger

Ask = Callable[..., Any]
Link = Callable[[Operation, Ask], Ask]  # a transport: the face of an operation on the caller's side


class Wiring:
    """Every component of a plan, built and connected; doors by operation title, one per replica."""

    def __init__(
        self, plan: Plan, ledger: Ledger, services: Services, links: Mapping[str, Link], replicas: int = 1
    ):
        """Build in the order of dependencies; call cycles were refused by the plan."""
        self.plan, self.app, self.topology = plan, plan.app, plan.topology
        self.ledger, self.services, self.links, self.replicas = ledger, services, links, replicas
        self.doors: dict[str, list[Door]] = {}
        self.views: dict[str, View[Any]] = {}
        self.instances: dict[str, list[Any]] = {}
        for component in self.app.components.values():
            if issubclass(component.kind, View):
                self.views[component.name] = component.kind()
        for component in self.app.components.values():
            self._build(component)

    def _build(self, component: Component) -> None:
        if component.is_view or component.name in self.instances:
            return
        limit = self.topology.limit_of(component.name)
        slots = Slots(component.name, limit.concurrency, limit.queue)
        self.instances[component.name] = []
        for _ in range(self.replicas):
            needs = {f.name: made for f in component.fields if (made := self._made(component, f)) is not None}
            instance = component.kind(**needs)
            self.instances[component.name].append(instance)
            for operation in component.operations:
                door = Door(operation, instance, slots, self.services)
                door.hurry(limit.deadline_s)
                self.doors.setdefault(operation.title, []).append(door)

    def _made(self, component: Component, field: Field) -> Any:
        """Return what the runtime puts into a field; None leaves a setting at its default."""
        if field.need == "setting":
            return self.topology.setting.get(f"{component.name}.{field.name}")
        if field.need == "table":
            (row,) = field.kind.__args__
            encoded = self.topology.durability != "none"
            return Table(component.name, field.name, row, self.ledger, encoded=encoded)
        if field.need == "view":
            return self.views[field.kind.__name__]
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
        link, budget = self.links[via], Budget()
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
