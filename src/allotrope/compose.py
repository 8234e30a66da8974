"""The one file that knows every name: which preset is which file, which store a durability needs, which link an edge.

Everything above (`cli`, `testing`) builds through here.
"""

import importlib
import os
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused, nearest
from allotrope.kernel.tables import Durability
from allotrope.logs.memory import MemoryLog
from allotrope.logs.sqlite import SqliteLog
from allotrope.planning.documents import Document, document_of
from allotrope.planning.plans import Plan, plan
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from allotrope.runtime.telemetry.otlp import exporter
from allotrope.runtime.telemetry.secrets import mask, secrets_in
from allotrope.runtime.telemetry.sinks import Sink
from allotrope.runtime.telemetry.spans import SpanStore
from allotrope.storage.ports import Ledger, Log
from allotrope.stores.memory import MemoryLedger
from allotrope.stores.sqlite import SqliteLedger
from allotrope.transports.direct import direct
from allotrope.transports.loopback import loopback

DEFAULT = "modular-monolith"
FOLDER = Path(".allotrope")


def presets() -> tuple[str, ...]:
    """Return the names of the presets."""
    files = resources.files("allotrope.architectures").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def preset_text(name: str) -> str:
    """Return the text of a preset. Refused, with the nearest name, when there is none."""
    if name not in presets():
        raise Refused(f"no preset or file is called `{name}`. {nearest(name, presets())}")
    return resources.files("allotrope.architectures").joinpath(f"{name}.toml").read_text("utf-8")


def document(topology: str) -> Document:
    """Return a topology by the name of a preset or the path of a TOML file, its bases merged in."""
    path = Path(topology)
    if path.suffix == ".toml":
        if not path.is_file():
            raise Refused(f"{topology}: no such topology file; presets are {', '.join(presets())}")
        found = document_of(path.read_text("utf-8"), topology, preset_text)
    else:
        found = document_of(preset_text(topology), f"{topology}.toml", preset_text)
    mask.learn(secrets_in(found.values))
    return found


def hide(app: App) -> None:
    """Mask the secrets among an app's own settings in all that this process shows from now on."""
    for (
        component
    ) in app.components.values():  # not by its fields: a plan has yet to say whether they can be read
        for kind in component.kind.__mro__:
            plain = {
                name: value for name, value in vars(kind).items() if name[0] != "_" and isinstance(value, str)
            }
            mask.learn(secrets_in(plain))


def load(name: str) -> App:
    """Return the app that a module holds as `app`: `examples.fraud`, or `package.module:variable`."""
    module_name, _, variable = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # an app beside the working directory, as `python -m` would find it
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the app is there, what it imports is not: that message is the better one
        raise Refused(f"no module `{module_name}` here; run this where it can be imported") from None
    app = getattr(module, variable or "app", None)
    if not isinstance(app, App):
        raise Refused(f"module `{module_name}` has no App called `{variable or 'app'}`")
    hide(app)
    return app


def stores(durability: Durability, partitions: int, folder: Path | None) -> tuple[Log, Ledger]:
    """Return the log and the ledger of a durability, in `folder` where they keep files."""
    if durability == "none":
        return MemoryLog(partitions), MemoryLedger()
    where = folder or FOLDER
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{where}: cannot keep files there: {error.strerror}; name another folder") from None
    log = SqliteLog(where, durability, partitions)
    try:
        return log, SqliteLedger(where, durability)
    except BaseException:
        log.close()
        raise


def sinks(app: App, folder: Path | None) -> tuple[Sink, ...]:
    """Return where the spans of a host go: its folder, else memory; and a collector that the environment names."""
    exported = exporter(app.name, os.environ)
    return (SpanStore(folder), exported) if exported else (SpanStore(folder),)


def build(
    app: App,
    topology: str | Document | Plan = DEFAULT,
    folder: Path | None = None,
    options: Options | None = None,
    differs: Callable[[str, Any, Any], None] = lambda title, one, other: None,
) -> Host:
    """Return a host of an app under a topology, not yet started. PlanRefused lists every fault of the two."""
    if isinstance(topology, str):
        topology = document(topology)
    hide(app)
    made = topology if isinstance(topology, Plan) else plan(app, topology)
    mask.learn(secrets_in(made.topology.setting))
    log, ledger = stores(made.topology.durability, made.topology.partitions, folder)
    links = {"call": lambda operation, ask: direct(operation, ask), "loopback": loopback(differs)}
    try:
        return Host(made, (log, ledger), links, options)
    except BaseException:
        log.close()
        ledger.close()
        raise
