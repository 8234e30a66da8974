"""`allotrope plan`: what a topology makes of an app, and what it changes for one that runs."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.loading import AppName, TopologyName, planned, screen
from allotrope.compose.contracts import layout_at
from allotrope.compose.devices import check_devices
from allotrope.kernel.errors import PlanRefused
from allotrope.planning.contracts.agreement import against as differences
from allotrope.planning.contracts.changes import Change, told
from allotrope.planning.contracts.moves import moved
from allotrope.planning.plans import Plan
from allotrope.planning.plans import plan as plan_of
from allotrope.runtime.homes import strays
from allotrope.runtime.telemetry.secrets import mask

Against = Annotated[
    str,
    Parameter(
        help="What runs now: a contract file, the folder of a running app, or another topology of this app."
    ),
]


def plan(app: AppName, /, *, topology: TopologyName = compose.DEFAULT, against: Against = "") -> int:
    """Show what runs where, or every reason why it cannot."""
    from allotrope.planning.text import WIDTH, expansion

    found = planned(app, topology)
    check_devices(found)
    changes = _changes(found, against) if against else None
    width = shutil.get_terminal_size((WIDTH, 0)).columns  # of the terminal or of COLUMNS, where there is one
    print(mask(expansion(found, width)).rstrip())
    if changes is not None:
        screen().print(f"\nagainst {against}\n{told(changes)}", markup=False)
        if Path(against).is_dir() and layout_at(Path(against)) is None:
            print("units and edges were not compared: no units run there", file=sys.stderr)
    return 0


def _changes(new: Plan, against: str) -> tuple[Change, ...]:
    """Return what a plan changes. PlanRefused when what runs and what is planned cannot stand side by side."""
    if Path(against).suffix == ".toml" or against in compose.presets():
        changes = moved(plan_of(new.app, compose.document(against)), new)
    else:
        changes = differences(new.app, compose.contract_at(against))
        if Path(against).is_dir():
            changes += tuple(_moves(new, Path(against)))
    if refused := tuple(str(change) for change in changes if not change.compatible):
        raise PlanRefused(f"{new.app.name} against {against}; nothing was stopped or started", refused)
    return changes


def _moves(new: Plan, folder: Path) -> Iterator[Change]:
    """Yield what is another in the layout of what runs in a folder, and what its state there forbids."""
    kept = strays(new, folder)
    for name, home in kept.items():
        what, why = f"has its state in {home}", "a new place would begin empty, and run all of the log again"
        yield Change(name, what, "refused", why, "use that layout, or another folder")
    running = layout_at(folder)
    if running is not None:
        yield from (change for change in moved(plan_of(new.app, running), new) if change.place not in kept)
