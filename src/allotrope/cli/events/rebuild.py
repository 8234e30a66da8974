"""`allotrope events rebuild`: make views again from the log, of an app that does not run."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.loading import AppName, Folder, TopologyName, planned
from allotrope.kernel.errors import Refused, nearest
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options


@dataclass(frozen=True)
class Place:
    """Where the app keeps its log, and what may be given up."""

    folder: Folder = compose.FOLDER
    topology: TopologyName = compose.DEFAULT
    accept_loss: Annotated[
        bool,
        Parameter(help="Go on without the events that have left the log: the views lack them from then on."),
    ] = False


def rebuild(
    app: AppName,
    views: Annotated[tuple[str, ...], Parameter(help="The views, by name.")],
    /,
    *,
    place: Annotated[Place, Parameter(name="*")] = Place(),
) -> int:
    """Read the log again for some views, and keep what came of it. The app must not run meanwhile."""
    plan = planned(app, place.topology)
    known = [name for name, component in plan.app.components.items() if component.is_view]
    for name in views:
        if name not in known:
            raise Refused(f"app {plan.app.name} has no view `{name}`. {nearest(name, known)}")
    if plan.topology.durability == "none":
        raise Refused(
            f"{plan.name} keeps no log: its views begin with each start, and there is nothing to rebuild"
        )
    wanted = frozenset(views)
    options = Options(ticks=False, rebuilt=wanted, accepted=wanted if place.accept_loss else frozenset())
    asyncio.run(_rebuilt(compose.build(plan.app, plan, place.folder, options)))
    print(f"{', '.join(views)}: rebuilt from the log in {place.folder}")
    return 0


async def _rebuilt(host: Host) -> None:
    try:
        await host.start()
    finally:
        await host.drain()
