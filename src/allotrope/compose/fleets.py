"""The processes behind a plan whose units are apart: its fleet, and the host that starts one with itself."""

import contextlib
import os
import sys
from pathlib import Path

import msgspec

from allotrope.compose.contracts import keep_contract, keep_known
from allotrope.compose.devices import check_devices
from allotrope.compose.logs import log_of
from allotrope.compose.state import keeping
from allotrope.engines.processes.control import Control
from allotrope.engines.processes.fleet import Fleet
from allotrope.engines.processes.launching import Crew, named
from allotrope.engines.processes.lines import Lines
from allotrope.engines.processes.process import Door, Spec
from allotrope.gateway.foreign.choice import check_envoys
from allotrope.kernel.codec import encode
from allotrope.planning.plans import Plan
from allotrope.runtime.homes import settle
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from allotrope.runtime.sites.apart import Apart
from allotrope.runtime.telemetry.decisions import forget
from allotrope.sidecars.companion import check_companions
from allotrope.storage.folders import own, write
from allotrope.storage.locks import Lock
from allotrope.transports.direct import direct
from allotrope.transports.frames.security import Key


def apart(plan: Plan, folder: Path, options: Options) -> Host:
    """Return a host whose units are processes, started with it and ended with it."""
    folder = folder.absolute()  # as the address of a socket has to be
    own(folder)
    with contextlib.ExitStack() as undo:
        log = log_of(plan.topology, folder, plan.app.name)
        undo.callback(log.release)
        engine = fleet(plan, folder, options)
        undo.callback(engine.lock.release)
        options = keeping(plan, folder, options)
        site = Apart(plan, engine.fleet.lines, {"rpc": direct}, options, engine)
        options = msgspec.structs.replace(options, started=lambda: keep_contract(plan.app, folder))
        host = Host(plan, log, site, options)
        undo.pop_all()
    return host


def fleet(plan: Plan, folder: Path, options: Options, door: Door | None = None) -> Control:
    """Return the fleet of a plan, not yet started; with a gateway where there is a door for it.

    It holds its folder until it closes. What is left of a former life there is cleared away.
    """
    check_companions(plan)
    check_envoys(plan)
    folder = folder.absolute()
    own(folder)
    lock = Lock(folder / "fleet")
    try:
        return Control(_fleet(plan, folder, options, door), lock)
    except BaseException:
        lock.release()
        raise


def _fleet(plan: Plan, folder: Path, options: Options, door: Door | None) -> Fleet:
    run, logs = folder / "run", folder / "logs"
    for place in (run, logs):
        own(place, always=True)  # the spec and the logs may hold secrets
    (logs / "nursery.log").touch(0o600)
    for left in run.iterdir():
        left.unlink()
    secret = Key.create(run / "key")
    spec = Spec(
        app=named(plan.app), paths=tuple(sys.path), document=plan.document, folder=str(folder),
        secret=str(secret.path), parent=os.getpid(), door=door, seed=options.seed,
        stirs=(0, ()) if options.disturbance is None else options.disturbance.spread(),
        recalled=options.recalled,
    )  # fmt: skip
    write(run / "spec", encode(spec))
    settle(plan, folder)
    keep_known(plan.app, folder)
    forget(folder)
    units = plan.topology.unit
    crew = Crew(
        lambda python: (*_interpreter(python), "-m", "allotrope.cli.workers.unit", str(run / "spec")),
        lambda unit, number: dict(units[unit].environment) if unit in units else {}, run, logs, secret,
        () if door is None else (door.web,), check_devices(plan, options.replicas),
    )  # fmt: skip
    return Fleet(plan, crew, Lines(secret), options.replicas)


def _interpreter(python: str) -> tuple[str, ...]:
    """Return how to start one; that of another environment sees nothing of the working directory."""
    return (python, "-P") if python else (sys.executable,)
