"""Lag: how far each consumer and each view is behind what was accepted. Computed when somebody asks, kept by nobody.

A consumer is a component that takes events or commands. What an input has yet to lead to does not count before it is
there. Not here: who shows it (`compose/figures.py`, `engines/processes`).
"""

from collections.abc import Iterator

import msgspec

from allotrope.runtime.flows import Flights
from allotrope.runtime.intake.backlog import Backlog
from allotrope.runtime.intake.turns import Turns
from allotrope.runtime.routes import Delivery
from allotrope.runtime.sites.site import Site


class Lag(msgspec.Struct):
    """Events that one consumer or view has yet to take, and when the oldest of their inputs was accepted."""

    events: int = 0
    at: int = 0  # microseconds since 1970; 0 where there are none

    def seconds(self, now: int) -> float:
        """Return for how long the oldest one has waited."""
        return max(now - self.at, 0) / 1_000_000 if self.events else 0.0

    def add(self, events: int, at: int) -> None:
        """Count some more in."""
        if events:
            self.events += events
            self.at = min(self.at, at) if self.at else at


def lags(flights: Flights, turns: Turns | None, backlog: Backlog, site: Site) -> dict[str, Lag]:
    """Return the lag of each consumer and each view, by name."""
    found = {route.component: Lag() for _, routes in site.routes.ways.values() for route in routes}
    for delivery, at in _open(flights, turns):
        found[delivery.route.component].add(1, at)
    for kind, count in backlog.kinds.items():  # those that wait in the log: nobody has taken any of them
        for route in site.routes.ways.get(kind, ((), ()))[1]:
            found[route.component].add(count, backlog.oldest)
    for view, events, at in site.behind():
        found.setdefault(view, Lag()).add(events, at)
    return found


def _open(flights: Flights, turns: Turns | None) -> Iterator[tuple[Delivery, int]]:
    if turns is not None:
        for turn in list(turns.turns.values()):
            yield turn.delivery, turn.flow.at
        return
    for flow in list(flights.flows.values()):
        for delivery in flow.left():
            yield delivery, flow.at
