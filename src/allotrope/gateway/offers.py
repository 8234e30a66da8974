"""Offers: what an app has for the outside, by path. Each operation, event and facade is one; so is the bundle.

POST /Component/operation    a query or command, its arguments as a JSON object
GET  /Component/operation    a query whose arguments are plain words, in the query string
POST /events/Kind            an event, its fields as a JSON object
POST /events                 CloudEvents: one, or a batch
POST /facade/name            the operations of a facade, given their arguments by name
POST /bundle                 several operations, each with arguments of its own
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from allotrope.gateway.problems import status_of
from allotrope.gateway.values import is_plain, parameters_of, reader, shape, shape_of
from allotrope.kernel.errors import PlanRefused, Refused
from allotrope.kernel.messages import Event, Tick
from allotrope.kernel.operations import Operation
from allotrope.planning.plans import Plan

Kind = Literal["query", "command", "event", "facade", "bundle", "view", "status", "live", "cloudevents"]


class Offer(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One thing that may be asked for. `title` is what scopes are matched with."""

    title: str
    path: str
    kind: Kind
    shape: Any  # the type of the body
    read: Callable[[bytes], Any]  # from JSON to a value of that type
    names: tuple[str, ...]  # its fields
    operation: Operation | None = None
    event: type[Event] | None = None
    view: type[Any] | None = None
    parts: tuple["Offer", ...] = ()  # of a facade
    plain: bool = False  # whether GET is open to it
    streams: bool = False
    says: str = ""

    @property
    def methods(self) -> tuple[str, ...]:
        """Return how it may be asked."""
        if self.kind in ("view", "status", "live"):
            return ("GET",)
        return ("GET", "POST") if self.plain or self.kind == "event" else ("POST",)


class Called(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the operations of a bundle."""

    call: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


def offers_of(plan: Plan) -> dict[str, Offer]:
    """Return every offer of a plan by its path, aliases too. PlanRefused when two meet on one path."""
    made = [
        _operation(o)
        for c in plan.app.components.values()
        for o in c.operations
        if o.kind in ("query", "command")
    ]
    titled = {offer.title: offer for offer in made}
    made += [_event(name, kind) for name, kind in plan.app.events().items() if kind is not Tick]
    faults = []
    for name, titles in plan.topology.gateway.facade.items():
        try:
            made.append(_facade(name, tuple(titled[title] for title in titles)))
        except Refused as error:
            faults.append(str(error))
    made.append(_bundle())
    if any(offer.event is not None for offer in made):
        made.append(_cloudevents())
    found: dict[str, Offer] = {}
    aliased = [(path, titled[title]) for path, title in plan.topology.gateway.alias.items()]
    for path, offer in [*((offer.path, offer) for offer in made), *aliased]:
        if path in found or path in RESERVED:
            faults.append(f"path {path} is taken twice: by {offer.title} and by what was there; rename one")
        found[path] = offer
    if faults:
        raise PlanRefused(f"the gateway of {plan.name}", tuple(faults))
    return found


RESERVED = (
    "/health/live", "/health/ready", "/metrics", "/openapi.json", "/asyncapi.json", "/docs", "/docs.js", "/docs.css",
)  # fmt: skip


def _operation(operation: Operation) -> Offer:
    made = shape_of(operation)
    return Offer(
        title=operation.title,
        path=f"/{operation.component}/{operation.name}",
        kind="query" if operation.kind == "query" else "command",
        shape=made,
        read=reader(made),
        names=made.__struct_fields__,
        operation=operation,
        plain=operation.kind == "query" and all(map(is_plain, parameters_of(operation).values())),
        streams=operation.streams,
        says=inspect.getdoc(operation.body) or "",
    )


def _event(name: str, kind: type[Event]) -> Offer:
    made = shape(f"Publish{name}", [_copied(field) for field in msgspec.structs.fields(kind)])
    says = inspect.getdoc(kind) or ""
    return Offer(
        title=f"events.{name}", path=f"/events/{name}", kind="event", shape=made, read=reader(made),
        names=made.__struct_fields__, event=kind, says=says,
    )  # fmt: skip


def _copied(field: msgspec.structs.FieldInfo) -> tuple[str, Any, Any]:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.name, field.type, msgspec.field(default_factory=field.default_factory)
    default = msgspec.field() if field.required else msgspec.field(default=field.default)
    return field.name, field.type, default


def _facade(name: str, parts: tuple[Offer, ...]) -> Offer:
    """Return the offer of several operations at once; what they call by one name is one argument."""
    fields: dict[str, Any] = {}
    for part in parts:
        if part.streams:
            raise Refused(f"facade `{name}`: {part.title} answers in pieces; ask for it alone")
        for field in msgspec.structs.fields(part.shape):
            other = fields.setdefault(field.name, field)
            if other.type != field.type:
                raise Refused(
                    f"facade `{name}`: its operations differ in the type of `{field.name}`; make two facades"
                )
            if field.required:
                fields[field.name] = field
    made = shape(f"Facade_{name}", [_spared(field) for field in fields.values()])
    says = f"Answers {', '.join(part.title for part in parts)} together."
    return Offer(
        title=f"facade.{name}", path=f"/facade/{name}", kind="facade", shape=made, read=reader(made),
        names=made.__struct_fields__, parts=parts, says=says,
    )  # fmt: skip


def _spared(field: msgspec.structs.FieldInfo) -> tuple[str, Any, Any]:
    """Return a field that may be left out where each operation has a default of its own."""
    if field.required:
        return field.name, field.type, msgspec.field()
    return field.name, field.type | msgspec.UnsetType, msgspec.UNSET


def _bundle() -> Offer:
    made = dict[str, Called]
    return Offer(
        title="bundle", path="/bundle", kind="bundle", shape=made, read=reader(made), names=(),
        says="Answers several operations together, each under the name that it was given.",
    )  # fmt: skip


def _cloudevents() -> Offer:
    made = list[dict[str, Any]]
    return Offer(
        title="events", path="/events", kind="cloudevents", shape=made, read=reader(made), names=(),
        says="Takes CloudEvents: one as JSON, several as a batch, or one with `ce-` headers and its data as the body.",
    )  # fmt: skip


def statuses_of(plan: Plan) -> dict[str, int]:
    """Return the status of each declared fault: of the topology, else of the fault itself."""
    declared = {
        fault.__name__: status_of(fault)
        for component in plan.app.components.values()
        for operation in component.operations
        for fault in operation.faults
    }
    return {**declared, **plan.topology.gateway.status}
