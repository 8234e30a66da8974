"""What a host keeps and where: the log and the ledger that a durability needs, the sinks of its spans."""

import os
from pathlib import Path

import msgspec

from allotrope.compose.logs import ledger_of, log_of
from allotrope.kernel.components import App
from allotrope.planning.plans import Plan
from allotrope.planning.topology import Topology
from allotrope.runtime.options import Options
from allotrope.runtime.telemetry.decisions import DecisionStore, forget
from allotrope.runtime.telemetry.otlp import exporter
from allotrope.runtime.telemetry.sinks import Sink
from allotrope.runtime.telemetry.spans import SpanStore
from allotrope.storage.checkpoints import Checkpoints
from allotrope.storage.folders import own
from allotrope.storage.ports import Ledger, Log
from allotrope.stores.memory import MemoryLedger

FOLDER = Path(".allotrope")


def stores(topology: Topology, folder: Path | None, owner: str = "") -> tuple[Log, Ledger]:
    """Return the log and the ledger of a topology, in `folder` where they keep files, those of one app."""
    where = folder or FOLDER
    if topology.durability == "none":
        return log_of(topology, where, owner), MemoryLedger()
    own(where)
    log = log_of(topology, where, owner)
    try:
        return log, ledger_of(topology, where, owner)
    except BaseException:
        log.release()
        raise


def sinks(app: App, folder: Path | None) -> tuple[Sink, ...]:
    """Return where the spans of a host go: its folder, else memory; and a collector that the environment names."""
    exported = exporter(app.name, os.environ)
    return (SpanStore(folder), exported) if exported else (SpanStore(folder),)


def keeping(plan: Plan, folder: Path, options: Options) -> Options:
    """Return options under which a durable host keeps the states of its views beside its log."""
    if plan.topology.durability == "none":
        return options
    return msgspec.structs.replace(options, kept=Checkpoints(folder, plan.topology.durability))


def recording(plan: Plan, folder: Path | None, options: Options) -> Options:
    """Return options under which a host that keeps nothing durable leaves its newest decisions where its spans go."""
    if folder is not None and plan.topology.durability != "none":
        forget(folder)
    elif folder is not None and options.sinks:
        recent = DecisionStore(folder, plan.name.removesuffix(".toml"))
        options = msgspec.structs.replace(options, recent=recent, sinks=(*options.sinks, recent))
    return options
