"""`allotrope roll`: new processes in place of the old ones, one after the other, while requests go on."""

import time

from allotrope import compose
from allotrope.cli.fleet.ps import sight
from allotrope.cli.fleet.scale import Unit
from allotrope.cli.loading import Folder
from allotrope.engines.processes.control import Way
from allotrope.kernel import codec


def roll(unit: Unit = "", /, *, folder: Folder = compose.FOLDER) -> int:
    """Replace the replicas of a unit, or of all units; each new one is ready before an old one leaves."""
    Way(folder).ask("renew")
    for name in (unit,) if unit else sight(folder).wanted:
        start = time.monotonic()
        Way(folder).ask("roll", codec.encode(name))
        print(f"{name}: replaced in {time.monotonic() - start:.1f} s", flush=True)
    return 0
