"""The parts of one process of an app, as its effects need them. Made by whoever joins them: a host, a station."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from allotrope.planning.plans import Plan
from allotrope.runtime.doors.dispatch import Services
from allotrope.runtime.options import Options
from allotrope.runtime.routes import Routes
from allotrope.runtime.wiring import Wiring
from allotrope.storage.ports import Ledger, SharedLedger


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What runs deliveries. `spawn` runs work beside everything else; its failure stops the process's host."""

    plan: Plan
    options: Options
    ledger: Ledger
    services: Services
    wiring: Wiring
    routes: Routes
    spawn: Callable[[Any], asyncio.Task[Any]]
    shared: SharedLedger | None = None  # the ledger, where other processes have it open as well
    lease: Callable[[str], tuple[int, int]] | None = (
        None  # the partition of a key and the epoch it is held under
    )

    @property
    def durable(self) -> bool:
        """Return whether anything outlives the process."""
        return self.plan.topology.durability != "none"
