"""What a host shows to Prometheus: gauges beside its counters, and the counters of its units."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from allotrope.kernel.errors import Lost, Refused
from allotrope.runtime.effects.letters import ParkedKey, Search
from allotrope.runtime.host import Host
from allotrope.runtime.intake.lag import Lag, lags
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
    parked = followed(host)
    return {
        "backlog": ("Accepted inputs that wait for room", lambda: host.waiting),
        "backlog_age_seconds": (
            "For how long the oldest unfinished input has been there",
            lambda: host.backlog.age_s(time.time_ns() // 1000),
        ),
        "lag_events": ("Events that a consumer or view has yet to take", lambda: events_behind(host)),
        "lag_seconds": ("For how long the oldest of them has been there", lambda: seconds_behind(host)),
        "flows": ("Inputs in flight", lambda: len(host.flights.flows)),
        "floor_origin": ("Lowest origin that may be unfinished", host.flights.floor),
        "newest_origin": ("Origin of the newest input", lambda: host.flights.newest),
        "parked": ("Events parked since the start", lambda: host.site.parked),
        "dead_letters": (
            "Dead letters by reason, those that wait behind others as Parked",
            lambda: dead(parked()),
        ),
        "parked_keys": ("Keys whose events wait", lambda: Counter(each.component for each in parked())),
        "parked_seconds": ("For how long the key has been parked that is longest", lambda: ages(parked())),
        "spans_dropped": ("Spans lost since the start", lambda: host.services.tracer.dropped),
        "stopped": ("1 when nothing is taken any more", lambda: host.stopped is not None),
        "tasks": ("Tasks of the event loop", lambda: len(asyncio.all_tasks(loop))),
    }


def events_behind(host: Host) -> dict[str, float]:
    """Return how many events each consumer and view has yet to take."""
    return {name: float(lag.events) for name, lag in _lags(host).items()}


def seconds_behind(host: Host) -> dict[str, float]:
    """Return for how long the oldest of them has been there."""
    now = time.time_ns() // 1000
    return {name: lag.seconds(now) for name, lag in _lags(host).items()}


def _lags(host: Host) -> dict[str, Lag]:
    return lags(host.flights, host.turns, host.backlog, host.site)


def followed(host: Host) -> Callable[[], tuple[ParkedKey, ...]]:
    """Return what gives the parked keys of a host, a second old at most."""
    newest: list[tuple[ParkedKey, ...]] = [()]

    async def follow() -> None:
        while True:
            with contextlib.suppress(Refused, Lost):  # a unit is away
                newest[0] = (await host.site.letters(Search(limit=0))).keys
            await asyncio.sleep(GATHER_S)

    host.spawn(follow())
    return lambda: newest[0]


def dead(parked: tuple[ParkedKey, ...]) -> dict[tuple[str, str], float]:
    """Return how many letters there are by component and reason: of each key one was tried."""
    counts = Counter[tuple[str, str]]()
    for each in parked:
        counts[each.component, each.kind] += 1
        counts[each.component, "Parked"] += each.count - 1
    return {place: float(count) for place, count in counts.items() if count}


def ages(parked: tuple[ParkedKey, ...]) -> dict[str, float]:
    """Return for how long the oldest key of each component has been parked."""
    now = time.time_ns() // 1000
    found: dict[str, float] = {}
    for each in parked:
        found[each.component] = max((now - each.since) / 1_000_000, found.get(each.component, 0.0))
    return found


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
