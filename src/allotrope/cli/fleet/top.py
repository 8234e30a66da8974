"""`allotrope top`: the processes of a running app, shown anew every second until Ctrl-C."""

import sys
import time
from typing import Annotated

from cyclopts import Parameter
from rich.live import Live

from allotrope import compose
from allotrope.cli.fleet.ps import lagging, ps, shown, sight
from allotrope.cli.loading import Folder, screen


def top(
    *,
    folder: Folder = compose.FOLDER,
    every: Annotated[float, Parameter(help="Seconds between two looks.")] = 1.0,
) -> int:
    """Watch the processes of a running app; where stdout is no terminal, list them once."""
    if not sys.stdout.isatty():
        return ps(folder=folder)
    found = sight(folder)
    console = screen()
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            live.update(shown(found, console, lagging(folder)), refresh=True)
            time.sleep(max(every, 0.1))
            found = sight(folder)
