"""`allotrope restore`: makes the folder of an app from a backup."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from allotrope.cli.events.bars import bar
from allotrope.cli.events.letters import moment
from allotrope.cli.loading import many
from allotrope.evidence.backups.manifest import shown
from allotrope.evidence.backups.restore import Until, restored


@dataclass(frozen=True)
class Settings:
    """Where to, and up to when."""

    folder: Annotated[
        Path, Parameter(name=["--folder", "-d"], help="The folder to make; the app must not run in it.")
    ]
    to: Annotated[
        str,
        Parameter(
            help="A position of the log, or a time as 2026-01-31T12:00 in UTC or 90m ago: nothing that came later."
        ),
    ] = ""
    force: Annotated[
        bool, Parameter(help="Make it where a folder is already, and keep that one beside it.")
    ] = False


def restore(
    source: Annotated[Path, Parameter(help="A backup, or the folder of backups: its newest one.")],
    /,
    *,
    settings: Annotated[Settings, Parameter(name="*")],
) -> int:
    """Make the folder of an app as it was when a backup was made, or at a moment before."""
    to, folder = settings.to, settings.folder
    until = Until() if not to else Until(position=int(to)) if to.isdecimal() else Until(time=moment(to))
    with bar() as told:
        done = restored(source, folder, until, told, force=settings.force)
    cover = done.cover.manifest
    when = shown(done.at) if done.at else "before the first input"
    print(
        f"{folder}: app {cover.app} as of position {done.position:,}, origin {done.origin:,}, {when}; sound"
    )
    if done.kept is not None:
        print(f"what was there is kept in {done.kept}")
    what = f"backup {done.snapshot.manifest.name}" if done.snapshot else "the inputs alone"
    runs = f"; the next start runs {many(done.inputs, 'input')} behind it" if done.inputs else ""
    print(f"made from {what}{runs}")
    if done.left_out:
        first, last = done.origin + 1, cover.origin
        print(
            f"left out: {many(done.left_out, 'input')}, origins {first:,} to {last:,}, accepted up to {cover.when}"
        )
    print(f"in no backup there: what was accepted after {cover.made[:19]}Z")
    return 0
