"""What a host shows to Prometheus: gauges beside its counters, and the counters of its units."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from allotrope.runtime.host import Host
from allotrope.runtime.telemetry.meters import Elsewhere, exposed
from allotrope.runtime.telemetry.metrics import Gauges, gauged

GATHER_S = 1.0  # between two looks at the counters of other processes


def shown(host: Host) -> tuple[Any, Any]:
    """Return what the metrics of a gate show of its host, those of its units a second old at most."""
    place = host.services.tracer.place or "host"
    return exposed(host.services.meters, gathered(host), place), gauged(gauges(host))


def gauges(host: Host) -> Gauges:
    """Return what a host shows beside its counters."""
    loop = asyncio.get_running_loop()  # who reads may be another thread
    return {
        "backlog": ("Accepted inputs that wait for room", lambda: host.waiting),
        "backlog_age_seconds": (
            "For how long the oldest unfinished input has been there",
            lambda: host.backlog.age_s(time.time_ns() // 1000),
        ),
        "flows": ("Inputs in flight", lambda: len(host.flights.flows)),
        "floor_origin": ("Lowest origin that may be unfinished", host.flights.floor),
        "newest_origin": ("Origin of the newest input", lambda: host.flights.newest),
        "parked": ("Events parked since the start", lambda: host.site.parked),
        "spans_dropped": ("Spans lost since the start", lambda: host.services.tracer.dropped),
        "stopped": ("1 when nothing is taken any more", lambda: host.stopped is not None),
        "tasks": ("Tasks of the event loop", lambda: len(asyncio.all_tasks(loop))),
    }


def gathered(host: Host) -> Callable[[], Elsewhere] | None:
    """Return what gives the counters of the units of a host, a second old at most; None when it has none."""
    if not host.plan.apart:
        return None
    newest: list[Elsewhere] = [{}]

    async def follow() -> None:
        while True:
            newest[0] = await host.site.meters()
            await asyncio.sleep(GATHER_S)

    host.spawn(follow())
    return lambda: newest[0]
