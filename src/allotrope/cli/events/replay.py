"""`allotrope events replay`: give a component events of the past again, as new inputs."""

from dataclasses import dataclass
from typing import Annotated
from uuid import uuid4

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.events.letters import AppToStart, KeyName, asked, moment, started
from allotrope.cli.loading import Folder, TopologyName, many
from allotrope.engines.desk import Past, Replayed
from allotrope.engines.processes.control import Nobody


@dataclass(frozen=True)
class Which:
    """Which events, and whether it is meant."""

    folder: Folder = compose.FOLDER
    key: KeyName = None
    yes: Annotated[
        bool, Parameter(name=["--yes", "-y"], help="Deliver them; without it they are counted.")
    ] = False
    run: Annotated[
        str, Parameter(help="The name that a replay which was cut off has printed: goes on with it.")
    ] = ""
    app: AppToStart = ""
    topology: TopologyName = compose.DEFAULT


def replay(
    *,
    start: Annotated[
        str, Parameter(name="--from", help="A position of the log, or a time: 2026-01-31T12:00, 90m ago.")
    ],
    component: Annotated[str, Parameter(help="Whose handlers get them.")],
    which: Annotated[Which, Parameter(name="*")] = Which(),
) -> int:
    """Give a component events of the log again, each as a new input with an origin of its own.

    What it has done for them before stays done: only a component that can take an event twice should get it twice.
    """
    position = int(start) if start.isdecimal() else 0
    since = 0 if start.isdecimal() else moment(start)
    past = Past(component, position, since, key=which.key)
    found = _asked(which, past)
    total = sum(found.found.values())
    told = ", ".join(f"{title} {count:,}" for title, count in sorted(found.found.items()))
    if not which.yes or not total:
        print(f"{many(total, 'event')} would be delivered again{': ' + told if told else ''}")
        print("nothing was done" + ("; --yes does it" if total else ""))
        return 0
    run = which.run or uuid4().hex[:12]
    print(f"delivering {many(total, 'event')}; if this is cut off, go on with --run {run}", flush=True)
    done = _asked(which, Past(component, position, since, found.until, which.key, True, run))
    print(f"{many(done.delivered, 'event')} delivered again")
    return 0


def _asked(which: Which, past: Past) -> Replayed:
    try:
        return asked(which.folder, "replay", past, Replayed)
    except Nobody:
        return started(which.folder, which.app, which.topology, lambda desk: desk.replay(past))
