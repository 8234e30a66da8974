"""`allotrope backup`: copies all that an app keeps, while it serves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.events.bars import bar
from allotrope.cli.loading import Folder, many
from allotrope.evidence.backups.backup import Wanted, saved


@dataclass(frozen=True)
class Settings:
    """What to copy, from where."""

    folder: Folder = compose.FOLDER
    since: Annotated[
        str,
        Parameter(
            help="Of the log only what has come since this backup in TARGET; `last` is the newest there."
        ),
    ] = ""
    secrets: Annotated[
        bool,
        Parameter(help="Copy callers.json, requests.key and webhooks.json too: they hold secrets."),
    ] = False


def backup(
    target: Annotated[Path, Parameter(help="The folder of backups; each gets a folder of its own in it.")],
    /,
    *,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),
) -> int:
    """Copy what an app keeps as of now: log, ledgers, checkpoints, layout and contract."""
    with bar() as told:
        made, held_ms = saved(settings.folder, target, Wanted(settings.since, settings.secrets), told)
    what = made.manifest
    size = sum(file.bytes for file in what.files)
    entries = what.position - what.first + 1
    print(made.folder)
    print(f"app {what.app}: the log up to position {what.position:,}, origin {what.origin:,}, {what.when}")
    print(
        f"{many(len(what.files), 'file')}, {size / 1e6:,.1f} MB, {many(entries, 'entry', 'entries')}; read back, sound"
    )
    print(f"writers waited {held_ms:.1f} ms")
    if what.since:
        print(f"it needs {what.since}, beside it")
    for name in what.secrets:
        print(f"left out: {name}; --secrets copies it")
    return 0
