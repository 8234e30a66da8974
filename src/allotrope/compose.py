"""The one file that knows every name: which preset is which file, which store a durability needs, which link an edge.

Everything above (`cli`, `testing`) builds through here.
"""

import asyncio
import contextlib
import importlib
import os
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, cast
from zlib import crc32

import msgspec

from allotrope.engines.processes.control import Control
from allotrope.engines.processes.devices import devices, shortages
from allotrope.engines.processes.fleet import Fleet
from allotrope.engines.processes.launching import Crew, named
from allotrope.engines.processes.lines import Lines
from allotrope.engines.processes.process import Beside, Door, Spec, served
from allotrope.evidence.chaos import Chaos, Stir
from allotrope.gateway.access.admission import Admission
from allotrope.gateway.access.keys import Keys
from allotrope.gateway.access.tokens import Tokens
from allotrope.gateway.foreign.choice import check_envoys, envoy_of
from allotrope.gateway.gate import Gate
from allotrope.gateway.link import Link
from allotrope.kernel.codec import encode
from allotrope.kernel.components import App
from allotrope.kernel.errors import PlanRefused, Refused, nearest
from allotrope.kernel.tables import Durability
from allotrope.logs.memory import MemoryLog
from allotrope.logs.sqlite import SqliteLog
from allotrope.planning.contracts.agreement import Known, disagreements, known_of, unfit
from allotrope.planning.contracts.contract import Contract, contract_of, read_contract
from allotrope.planning.contracts.joining import joined
from allotrope.planning.contracts.shares import share_of
from allotrope.planning.contracts.stubs import module_of
from allotrope.planning.documents import Document, document_of
from allotrope.planning.plans import Plan, plan
from allotrope.runtime.homes import settle
from allotrope.runtime.host import Host
from allotrope.runtime.migrations import migrate
from allotrope.runtime.options import Options
from allotrope.runtime.sites.afar import abroad
from allotrope.runtime.sites.apart import Apart
from allotrope.runtime.sites.here import Here
from allotrope.runtime.sites.station import Station
from allotrope.runtime.telemetry.decisions import DecisionStore, forget
from allotrope.runtime.telemetry.otlp import exporter
from allotrope.runtime.telemetry.secrets import mask, secrets_in
from allotrope.runtime.telemetry.sinks import Collector, Sink
from allotrope.runtime.telemetry.spans import SpanStore
from allotrope.runtime.tracing import Tracer
from allotrope.sidecars.companion import check_companions, companions
from allotrope.storage.folders import own, write
from allotrope.storage.locks import Lock
from allotrope.storage.ports import Ledger, Log
from allotrope.stores.memory import MemoryLedger
from allotrope.stores.sqlite import SqliteLedger
from allotrope.transports.direct import direct
from allotrope.transports.frames.security import Key
from allotrope.transports.loopback import loopback

DEFAULT = "modular-monolith"
FOLDER = Path(".allotrope")
CONTRACT = ".contract.json"  # how the name of a contract's file ends, behind the app's
KNOWN = "known.json"  # what the app of a fleet knows of components, in the folder of its sockets
CALLERS = "callers.json"  # the API keys of a gateway, in the folder of its app


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
    # Not by its fields: a plan has yet to say whether they can be read.
    for component in app.components.values():
        for kind in component.kind.__mro__:
            mask.learn(secrets_in({name: value for name, value in vars(kind).items() if name[0] != "_"}))


def planned(app: App, document: Document) -> Plan:
    """Return the plan of an app; of the app of one unit, under its share of the topology."""
    mask.learn(secrets_in(document.values))
    made = plan(app, share_of(app, document))
    mask.learn(secrets_in(made.topology.setting))
    return made


def load(name: str, *, beside: bool = True) -> App:
    """Return the app that a module holds as `app`: `examples.fraud`, or `package.module:variable`."""
    module_name, _, variable = name.partition(":")
    if beside and "" not in sys.path:
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


def contract_at(place: Path | str) -> Contract:
    """Return the contract in a file, or the one that a running app keeps in its folder."""
    path = Path(place)
    found = sorted(path.glob(f"*{CONTRACT}")) if path.is_dir() else [path]
    if len(found) != 1:
        raise Refused(
            f"{path}: has {len(found)} files `*{CONTRACT}`; name the one, or the folder of a running app"
        )
    try:
        return read_contract(found[0].read_bytes(), str(found[0]))
    except OSError as error:
        raise Refused(f"{found[0]}: cannot be read: {error.strerror}") from None


def foreign(*places: Path | str, runs: bool = False) -> Any:
    """Return the components, events and faults of other apps as their contracts tell them: `foreign(FILE).Models`.

    With `runs` they have their handlers too, for the app under which they run. A type checker cannot look into it;
    `allotrope contract stub` writes the same as a file, for which it can.
    """
    return module_of(*joined([contract_at(place) for place in places]), runs=runs)


def keep_contract(app: App, folder: Path) -> None:
    """Leave the contract of an app in its folder, for `plan --against`."""
    _keep(folder / f"{app.name}{CONTRACT}", contract_of(app).text().encode())


def keep_known(app: App, folder: Path) -> None:
    """Leave what an app knows of components where the apps of its units look for it."""
    _keep(folder / "run" / KNOWN, msgspec.json.encode(known_of(app)))


def _keep(path: Path, text: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        own(path.parent)
        fresh.write_bytes(text)
        fresh.replace(path)  # whoever reads it beside us finds the old one or the new one
    except OSError as error:
        raise Refused(f"{path}: cannot be kept: {error.strerror}; name another folder") from None


def stores(
    durability: Durability, partitions: int, folder: Path | None, owner: str = ""
) -> tuple[Log, Ledger]:
    """Return the log and the ledger of a durability, in `folder` where they keep files, those of one app."""
    if durability == "none":
        return MemoryLog(partitions), MemoryLedger()
    where = folder or FOLDER
    own(where)
    log = SqliteLog(where, durability, partitions, owner)
    try:
        return log, SqliteLedger(where, durability, owner=owner)
    except BaseException:
        log.close()
        raise


def sinks(app: App, folder: Path | None) -> tuple[Sink, ...]:
    """Return where the spans of a host go: its folder, else memory; and a collector that the environment names."""
    exported = exporter(app.name, os.environ)
    return (SpanStore(folder), exported) if exported else (SpanStore(folder),)


def _recording(plan: Plan, folder: Path | None, options: Options) -> Options:
    """Let a host that keeps nothing durable leave its newest decisions where its spans go."""
    if folder is not None and plan.topology.durability != "none":
        forget(folder)
    elif folder is not None and options.sinks:
        recent = DecisionStore(folder, plan.name.removesuffix(".toml"))
        options = msgspec.structs.replace(options, recent=recent, sinks=(*options.sinks, recent))
    return options


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
    made = topology if isinstance(topology, Plan) else planned(app, topology)
    mask.learn(secrets_in(made.topology.setting))
    if made.apart:
        return _apart(made, folder or FOLDER, options or Options())
    log, ledger = stores(made.topology.durability, made.topology.partitions, folder, app.name)
    links = {"call": direct, "rpc": direct, "loopback": loopback(differs)}
    try:
        if made.topology.durability != "none":
            settle(made, folder or FOLDER)
        options = _recording(made, folder, options or Options())
        if folder is not None and (made.topology.durability != "none" or options.sinks):
            options = msgspec.structs.replace(options, started=lambda: keep_contract(app, folder))
        return Host(made, log, Here(made, ledger, links, options), options)
    except BaseException:
        log.close()
        ledger.close()
        raise


def _apart(plan: Plan, folder: Path, options: Options) -> Host:
    """Return a host whose units are processes, started with it and ended with it."""
    folder = folder.absolute()  # as the address of a socket has to be
    own(folder)
    with contextlib.ExitStack() as undo:
        log = SqliteLog(folder, plan.topology.durability, plan.topology.partitions, plan.app.name)
        undo.callback(log.close)
        engine = fleet(plan, folder, options)
        undo.callback(engine.lock.release)
        site = Apart(plan, engine.fleet.lines, {"rpc": direct}, options, engine)
        options = msgspec.structs.replace(options, started=lambda: keep_contract(plan.app, folder))
        host = Host(plan, log, site, options)
        undo.pop_all()
    return host


def check_devices(plan: Plan, least: int = 1) -> tuple[str, ...]:
    """Return the GPUs of this machine, for a plan that wants some. PlanRefused when they are too few."""
    if not (plan.apart and any(unit.gpu for unit in plan.topology.unit.values())):
        return ()
    found = devices()
    if faults := tuple(shortages(plan.topology.unit, len(found), least)):
        raise PlanRefused(plan.name, faults)
    return found


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


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the faster event loop, None where there is only the standard one."""
    try:
        import uvloop
    except ImportError:  # not on this platform
        return None
    return uvloop.new_event_loop


async def replica(spec: Spec, unit: str, name: str, address: str) -> None:
    """Be one replica of a unit, until it is told to leave."""
    image = spec.unit(unit)
    app = load(image.get("app") or spec.app, beside=not (image.get("app") and image.get("python")))
    made, folder, secret = planned(app, spec.document), Path(spec.folder), Key(spec.secret)
    owner = agreed(app, made, unit, folder)
    lines = Lines(secret)
    writes = any(o.writes for n in made.units[unit] for o in app.components[n].operations)
    level = made.topology.durability
    shared = SqliteLedger(folder / unit, level, owner=owner, shared=True) if writes else None
    if shared is not None:
        await migrate(app, shared, made.units[unit])
    seed, stirs = spec.stirs
    chaos = Chaos(seed ^ crc32(name.encode()), cast(tuple[Stir, ...], stirs)) if stirs else None
    options = Options(
        sinks=sinks(app, folder), seed=spec.seed, tracer=Tracer(per_second=0.0, place=name),
        disturbance=chaos, recalled=spec.recalled,
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


def agreed(app: App, plan: Plan, unit: str, folder: Path) -> str:
    """Return the name of the app under which a unit runs. Refused when the unit's own means something else."""
    runs = msgspec.json.decode((folder / "run" / KNOWN).read_bytes(), type=Known)
    if not plan.topology.unit[unit].app:
        if told := " | ".join(map(str, unfit(runs.contract, contract_of(app, whole=True)))):
            raise Refused(
                f"app {app.name} has changed so that what runs on cannot work with it: {told}; keep the old form "
                "beside the new one, or stop everything and start again"
            )
        return app.name
    if wrong := disagreements(runs, known_of(app), plan.units[unit]):
        told = " | ".join(map(str, wrong))
        raise Refused(
            f"app {app.name} is not what {runs.contract.app} knows it to be by its contract: {told}"
        )
    keep_contract(app, folder / unit)
    return runs.contract.app


def gate(host: Host, folder: Path | None, tracer: Tracer, collectors: tuple[Any, ...] = ()) -> Gate:
    """Return the gate of a host."""
    return Gate(Link(host, tracer), admission(host.plan, folder), collectors)


def admission(plan: Plan, folder: Path | None) -> Admission:
    """Return who may come in: everybody here, unless there is a file of keys or an issuer of tokens."""
    settings = plan.topology.gateway
    path = Path(settings.callers) if settings.callers else (folder or FOLDER) / CALLERS
    if settings.callers and not path.is_file():
        raise Refused(f"{path}: no such file of keys; make one with `allotrope keys new NAME --file {path}`")
    keys = Keys(path) if path.is_file() else None
    tokens = Tokens(settings.bearer) if settings.bearer is not None else None
    return Admission(settings, keys, tokens)
