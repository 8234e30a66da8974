"""Routes: which operations and views an event goes to, and what each of them may reach. Computed once per plan."""

from typing import Any

import msgspec

from allotrope.kernel.components import Component
from allotrope.kernel.messages import Tick
from allotrope.kernel.operations import Operation
from allotrope.kernel.views import View
from allotrope.planning.plans import Plan
from allotrope.runtime.doors.dispatch import Door
from allotrope.runtime.doors.limits import Slots
from allotrope.runtime.doors.redrive import again_of, has_handlers, redrive_of
from allotrope.runtime.wiring import Wiring
from allotrope.storage.ports import Envelope


class Route(msgspec.Struct, frozen=True, gc=False):
    """One operation as the end of a way, with its masks (see `flows`)."""

    operation: Operation
    title: str
    component: str
    doors: tuple[Door, ...]  # one per replica
    bit: int  # the component's own bit
    ahead: int  # all that its events may reach, directly or through others
    need: int  # what must be quiet before it may run: the component itself and the views it reads
    told: bool = False  # whether it is a command
    key_index: int = -1  # of a command: which argument is the key
    special: bool = False  # whether it has to do with what comes in again (`redrive`)


class Delivery(msgspec.Struct, order=False, gc=False):
    """One event, or the arguments of one command, on its way to one operation. No key stands for all keys."""

    route: Route
    envelope: Envelope
    value: Any
    key: str
    position: int = 0  # of the log: there, or behind it, is its event; 0 where nothing is read back


Ways = tuple[list[View[Any]], list[Route]]  # where an event goes


class Routes:
    """The ways through one app."""

    def __init__(self, plan: Plan, wiring: Wiring) -> None:
        """Give each component a bit and follow the published events to their end."""
        app = plan.app
        self.bits = {name: 1 << index for index, name in enumerate(app.components)}
        self.kinds = {**app.events(), "Tick": Tick}
        self.watched = False  # whether somebody looks at events that go nowhere as well
        self.commands: dict[str, Route] = {}
        self.ways: dict[str, Ways] = {kind: ([], []) for kind in self.kinds}
        operations = [o for c in app.components.values() for o in c.operations if o.writes]
        ahead = self._ahead(plan, operations)
        for component in app.components.values():
            if component.name in wiring.views:
                for source in component.sources():
                    self.ways[source.__name__][0].append(wiring.views[component.name])
        for operation in operations:
            title, bit = operation.title, self.bits[operation.component]
            need = bit
            for view in plan.reads.get(title, ()):
                need |= self.bits[view]
            masks = bit, ahead[title], need
            route = Route(operation, title, operation.component, tuple(wiring.doors.get(title, ())), *masks)
            for source in operation.sources:
                self.ways[source.__name__][1].append(route)
            if operation.kind == "command":
                index = list(operation.parameters()).index(operation.key) if operation.key else -1
                told = msgspec.structs.replace(route, told=True, key_index=index)
                self.commands[title], self.ways[title] = told, ([], [told])
        for component in filter(has_handlers, app.components.values()):
            self._redriven(component, ahead, wiring)

    def _redriven(self, component: Component, ahead: dict[str, int], wiring: Wiring) -> None:
        """Give a component its command of redrive, and each handler the way on which something comes again."""
        operation, bit = redrive_of(component.name), self.bits[component.name]
        services, reached = wiring.services, bit
        for handler in component.operations:
            if handler.kind == "on":
                reached |= ahead[handler.title]
                kind = again_of(handler.title)
                (route,) = (r for r in self.ways[handler.sources[0].__name__][1] if r.title == handler.title)
                self.kinds[kind.__name__] = kind
                self.ways[kind.__name__] = [], [msgspec.structs.replace(route, special=True)]
        door = Door(operation, None, Slots(component.name, 1, 0), services, operation.body)
        del services.meters[operation.title]  # nobody runs it
        wiring.doors[operation.title] = [door]
        route = Route(
            operation, operation.title, component.name, (door,), bit, reached, bit,
            told=True, key_index=0, special=True,
        )  # fmt: skip
        self.commands[operation.title], self.ways[operation.title] = route, ([], [route])

    def _ahead(self, plan: Plan, operations: list[Operation]) -> dict[str, int]:
        """Return for each operation all that its events may reach: the least fixed point, so cycles are fine."""
        reached = {operation.title: 0 for operation in operations}
        changed = True
        while changed:
            changed = False
            for operation in operations:
                mask = 0
                for event in operation.publishes():
                    for consumer in plan.app.consumers(event):
                        mask |= self.bits[consumer.name]
                        for next_operation in consumer.operations:
                            if event in next_operation.sources:
                                mask |= reached[next_operation.title]
                if mask != reached[operation.title]:
                    reached[operation.title], changed = mask, True
        return reached

    def to(self, envelope: Envelope) -> Ways:
        """Return the ways of an envelope: a command's one, an event's views and handlers, a tick's own operation."""
        views, routes = self.ways.get(envelope.kind, _NOWHERE)
        if envelope.kind == "Tick":
            routes = [route for route in routes if route.title == envelope.key]
        return views, routes


_NOWHERE: Ways = [], []


def key_of(envelope: Envelope) -> str:
    """Return the key that its deliveries keep to themselves; "" of a tick, which may touch any row of a component."""
    return "" if envelope.kind == "Tick" else envelope.key


def delivery(route: Route, envelope: Envelope, value: Any, position: int = 0) -> Delivery:
    """Return the delivery of an envelope along a route."""
    return Delivery(route, envelope, value, key_of(envelope), position)
