"""One replica of a unit: its own app and plan, its ledger, and a station that answers for its components."""

import os
from pathlib import Path
from typing import cast
from zlib import crc32

import msgspec

from allotrope.compose.apps import load, planned
from allotrope.compose.contracts import KNOWN, contract_at, keep_contract
from allotrope.compose.logs import ledger_of
from allotrope.compose.state import sinks
from allotrope.engines.processes.launching import CANARY, RELEASE
from allotrope.engines.processes.lines import Lines
from allotrope.engines.processes.process import Beside, Spec, served
from allotrope.evidence.chaos import Chaos, Stir
from allotrope.gateway.foreign.choice import envoy_of
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused
from allotrope.planning.contracts.agreement import Known, disagreements, known_of, lasting, unfit
from allotrope.planning.contracts.contract import Contract, contract_of
from allotrope.planning.plans import Plan
from allotrope.runtime.migrations import migrate
from allotrope.runtime.options import Options
from allotrope.runtime.sites.afar import abroad
from allotrope.runtime.sites.station import Station
from allotrope.runtime.telemetry.sinks import Collector
from allotrope.runtime.tracing import Tracer
from allotrope.sidecars.companion import companions
from allotrope.stores.memory import MemoryLedger
from allotrope.transports.direct import direct
from allotrope.transports.frames.security import Key


async def replica(spec: Spec, unit: str, name: str, address: str) -> None:
    """Be one replica of a unit, until it is told to leave."""
    image = spec.unit(unit)
    app = load(image.get("app") or spec.app, beside=not (image.get("app") and image.get("python")))
    made, folder, secret = planned(app, spec.document), Path(spec.folder), Key(spec.secret)
    release, canary = int(os.environ.get(RELEASE, "1")), CANARY in os.environ
    owner = agreed(app, made, unit, folder, canary=canary)
    lines = Lines(secret)
    writes = any(o.writes for n in made.units[unit] for o in app.components[n].operations)
    shared = ledger_of(made.topology, folder, owner, unit, shared=True) if writes else None
    if shared is not None:
        await migrate(app, shared, made.units[unit])
    seed, stirs = spec.stirs
    chaos = Chaos(seed ^ crc32(name.encode()), cast(tuple[Stir, ...], stirs)) if stirs else None
    options = Options(
        sinks=sinks(app, folder), seed=spec.seed, tracer=Tracer(per_second=0.0, place=f"{name} r{release}"),
        disturbance=chaos, recalled=spec.recalled, release=release,
    )  # fmt: skip
    links = abroad(made, lines, {"call": direct, "rpc": direct, "loopback": direct}, unit)
    station = Station(made, unit, shared or MemoryLedger(), links, options)
    envoy = envoy_of(made, unit)
    if envoy is not None:
        for operation in (o for n in made.units[unit] for o in app.components[n].operations):
            for door in station.doors(operation):
                door.body = envoy.body(operation)
    if chaos is not None:
        chaos.slow(
            door for n in made.units[unit] for o in app.components[n].operations for door in station.doors(o)
        )
    collector = Collector(station.services.tracer, options.sinks)
    beside = Beside(collector, tuple(companions(station, folder, name)))
    try:
        await served(station, lines, address, secret, beside)
    finally:
        if envoy is not None:
            await envoy.close()


def agreed(app: App, plan: Plan, unit: str, folder: Path, *, canary: bool = False) -> str:
    """Return the name of the app under which a unit runs. Refused when the unit's own means something else.

    For a canary also when the release beside it could not read what it writes: it could not be undone.
    """
    runs = msgspec.json.decode((folder / "run" / KNOWN).read_bytes(), type=Known)
    if not plan.topology.unit[unit].app:
        if told := " | ".join(map(str, unfit(runs.contract, contract_of(app, whole=True)))):
            raise Refused(
                f"app {app.name} has changed so that what runs on cannot work with it: {told}; keep the old form "
                "beside the new one, or stop everything and start again"
            )
        if canary:
            _undoable(app, runs.contract, contract_of(app, whole=True))
        return app.name
    if wrong := disagreements(runs, known_of(app), plan.units[unit]):
        told = " | ".join(map(str, wrong))
        raise Refused(
            f"app {app.name} is not what {runs.contract.app} knows it to be by its contract: {told}"
        )
    if canary:
        _undoable(app, contract_at(folder / unit), contract_of(app))
    else:
        keep_contract(app, folder / unit)
    return runs.contract.app


def _undoable(app: App, running: Contract, own: Contract) -> None:
    if told := " | ".join(map(str, lasting(running, own))):
        raise Refused(
            f"app {app.name} writes what the release beside it cannot read: {told}; roll it instead"
        )
