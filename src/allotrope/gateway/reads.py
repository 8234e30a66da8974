"""Reads: what is only looked at. The figures of a view, how far an accepted request has come, events as they come.

GET /views/View/KEY?at=...   the figures of one key, now or at an event time
GET /events/Kind?key=...     the events of one type, as they come
GET /requests/ID             how far a command or event has come that was accepted
"""

from datetime import datetime

from allotrope.gateway.offers import Offer
from allotrope.gateway.requests import PLACE
from allotrope.gateway.values import reader, shape
from allotrope.kernel.components import Component
from allotrope.kernel.messages import Tick
from allotrope.planning.plans import Plan

_HOLE = "{"  # begins the last part of a path that stands for many


def reads_of(plan: Plan) -> dict[str, Offer]:
    """Return what may be looked at by path; the last part of a path may be a name in braces."""
    kinds = [name for name, kind in plan.app.events().items() if kind is not Tick]
    made = [_status(), *map(_live, kinds), *(_view(c) for c in plan.app.components.values() if c.is_view)]
    return {offer.path: offer for offer in made}


def found_in(reads: dict[str, Offer], path: str) -> tuple[Offer, dict[str, str]] | None:
    """Return what is found at a path, with what its last part stands for; None where there is nothing."""
    for depth in (2, 3):
        parts = path.split("/", depth)
        if len(parts) == depth + 1 and parts[depth]:
            for offer in reads.values():
                template = offer.path.split("/")
                if template[:-1] == parts[:-1] and template[-1].startswith(_HOLE):
                    return offer, {template[-1][1:-1]: parts[-1]}
    return None


def _view(component: Component) -> Offer:
    made = shape(f"Read_{component.name}", [("key", str), ("at", datetime | None, None)])
    return Offer(
        title=f"{component.name}.of", path=f"/views/{component.name}/{{key}}", kind="view", shape=made,
        read=reader(made), names=made.__struct_fields__, view=component.kind, plain=True,
        says=f"The figures of one key of {component.name}, now or at a time.",
    )  # fmt: skip


def _live(name: str) -> Offer:
    made = shape(f"Live{name}", [("key", str | None, None)])
    return Offer(
        title=f"live.{name}", path=f"/events/{name}", kind="live", shape=made, read=reader(made),
        names=made.__struct_fields__, plain=True, streams=True,
        says=f"The {name} events of one key or of all, as they come.",
    )  # fmt: skip


def _status() -> Offer:
    made = shape("RequestStatus", [("id", str)])
    return Offer(
        title="requests", path=f"{PLACE}{{id}}", kind="status", shape=made, read=reader(made),
        names=made.__struct_fields__, plain=True, says="How far a command or event has come that was accepted.",
    )  # fmt: skip
