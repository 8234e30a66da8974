"""`allotrope why-waiting`: what an input or a delivery of a running app waits for."""

import time
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from allotrope import compose
from allotrope.cli.events.letters import asked
from allotrope.cli.loading import Folder, screen
from allotrope.engines.waits import EVENT, Wait
from allotrope.evidence.archive.history import History

NAME = Parameter(help="An origin, an event, a delivery (42/Intake.accept#000/Scorer.score), or a request id.")


def why_waiting(identifier: Annotated[str, NAME], /, *, folder: Folder = compose.FOLDER) -> int:
    """Say what an input waits for, and what that waits for, down to the root of it."""
    name = identifier
    if not EVENT.fullmatch(name) and folder.is_dir():
        history = History(folder)
        origins = history.of_request(name)
        history.close()
        name = str(origins[-1]) if origins else name
    draw(asked(folder, "why", name, tuple[Wait, ...], 30.0), screen())
    return 0


def draw(chain: tuple[Wait, ...], console: Console) -> None:
    """Print a chain, each link further in than the one before; the last one is the root."""
    now = time.time_ns() // 1000
    for depth, wait in enumerate(chain):
        since = f", for {(now - wait.since) / 1e6:,.1f} s" if wait.since else ""
        at = f" at {wait.title}" if wait.title else ""
        style = "bold" if depth == len(chain) - 1 else ""
        console.print(Text(f"{'  ' * depth}{wait.name}{at}: {wait.why}{since}", style=style))
