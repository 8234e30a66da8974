"""The parts of one host, as its effects and its recovery need them. Made by `host`, which alone joins them."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from allotrope.planning.plans import Plan
from allotrope.runtime.doors.dispatch import Services
from allotrope.runtime.flows import Flights
from allotrope.runtime.options import Options
from allotrope.runtime.routes import Routes
from allotrope.runtime.wiring import Wiring
from allotrope.storage.ports import Ledger, Log


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is made of. `spawn` runs work beside everything else; its failure stops the host."""

    plan: Plan
    options: Options
    log: Log
    ledger: Ledger
    services: Services
    wiring: Wiring
    routes: Routes
    flights: Flights
    spawn: Callable[[Any], asyncio.Task[Any]]

    @property
    def durable(self) -> bool:
        """Return whether anything outlives the process."""
        return self.plan.topology.durability != "none"
