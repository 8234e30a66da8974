"""The host of an app under a topology. Which processes stand behind it, if any, is said in `fleets`."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from allotrope.compose.apps import DEFAULT, document, hide, planned
from allotrope.compose.contracts import keep_contract
from allotrope.compose.state import FOLDER, keeping, recording, stores
from allotrope.kernel.components import App
from allotrope.planning.documents import Document
from allotrope.planning.plans import Plan
from allotrope.runtime.homes import settle
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from allotrope.runtime.sites.here import Here
from allotrope.runtime.telemetry.secrets import mask, secrets_in
from allotrope.transports.direct import direct
from allotrope.transports.loopback import loopback


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
        from allotrope.compose.fleets import apart  # only here: one process pays for no distribution

        return apart(made, folder or FOLDER, options or Options())
    log, ledger = stores(made.topology, folder, app.name)
    links = {"call": direct, "rpc": direct, "loopback": loopback(differs)}
    try:
        if made.topology.durability != "none":
            settle(made, folder or FOLDER)
        options = keeping(made, folder or FOLDER, recording(made, folder, options or Options()))
        if folder is not None and (made.topology.durability != "none" or options.sinks):
            options = msgspec.structs.replace(options, started=lambda: keep_contract(app, folder))
        return Host(made, log, Here(made, ledger, links, options), options)
    except BaseException:
        log.release()
        ledger.close()
        raise


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the faster event loop, None where there is only the standard one."""
    try:
        import uvloop
    except ImportError:  # not on this platform
        return None
    return uvloop.new_event_loop
