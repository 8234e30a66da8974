"""Routes: which operations and views an event goes to, and what each of them may reach. Computed once per plan."""

from typing import Any

import msgspec

from allotrope.kernel.messages import Tick
from allotrope.kernel.operations import Operation
from allotrope.kernel.ports import Envelope
from allotrope.kernel.views import View
from allotrope.planning.plans import Plan
from allotrope.runtime.flows import Delivery


class Route(msgspec.Struct, frozen=True):
    """One operation as the end of a way, with its masks (see `flows`)."""

    operation: Operation
    bit: int
    ahead: int
    need: int
    key_index: int = -1  # of a command: which argument is the key


class Routes:
    """The ways through one app."""

    def __init__(self, plan: Plan, views: dict[str, View[Any]]) -> None:
        """Give each component a bit and follow the published events to their end."""
        app = plan.app
        self.bits = {name: 1 << index for index, name in enumerate(app.components)}
        self.kinds = {**app.events(), "Tick": Tick}
        self.views: dict[str, list[View[Any]]] = {}
        self.handlers: dict[str, list[Route]] = {}
        self.commands: dict[str, Route] = {}
        operations = [o for c in app.components.values() for o in c.operations if o.writes]
        ahead = self._ahead(plan, operations)
        for component in app.components.values():
            if component.is_view:
                for source in component.sources():
                    self.views.setdefault(source.__name__, []).append(views[component.name])
        for operation in operations:
            bit = self.bits[operation.component]
            need = bit
            for view in plan.reads.get(operation.title, ()):
                need |= self.bits[view]
            if operation.kind == "command":
                names = list(operation.parameters())
                index = names.index(operation.key) if operation.key else -1
                self.commands[operation.title] = Route(operation, bit, ahead[operation.title], need, index)
            for source in operation.sources:
                route = Route(operation, bit, ahead[operation.title], need)
                self.handlers.setdefault(source.__name__, []).append(route)

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

    def to(self, envelope: Envelope) -> list[Route]:
        """Return the ways of an envelope: a command's one, an event's handlers, for a tick only its own operation."""
        kind = envelope.kind
        if kind in self.commands:
            return [self.commands[kind]]
        routes = self.handlers.get(kind, [])
        return routes if kind != "Tick" else [route for route in routes if route.operation.title == envelope.key]


def delivery(route: Route, envelope: Envelope, value: Any) -> Delivery:
    """Return the delivery of an envelope along a route. A tick may touch any row: it has the component to itself."""
    key = "" if envelope.kind == "Tick" else envelope.key
    return Delivery(route.operation, envelope, value, key, route.bit, route.ahead, route.need)


