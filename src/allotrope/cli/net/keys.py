"""`allotrope keys`: make, list and revoke the API keys of a gateway. One that runs takes note within a second."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.loading import Folder
from allotrope.compose.gates import CALLERS
from allotrope.gateway.access.keys import made, read, revoked
from allotrope.kernel.errors import Refused


@dataclass(frozen=True)
class Settings:
    """Which key, in which file."""

    tenant: Annotated[str, Parameter(help="Whose data and limits the key has; its name without one.")] = ""
    scope: Annotated[
        tuple[str, ...],
        Parameter(
            help="What it may ask for: `Desk.settle`, `'Desk.*'`, `events.Paid`, `metrics`, `docs`. All without one."
        ),
    ] = ()
    folder: Folder = compose.FOLDER
    file: Annotated[
        Path | None, Parameter(help="The file of keys; callers.json in the folder without one.")
    ] = None


def keys(
    action: Literal["new", "ls", "revoke"],
    name: str = "",
    /,
    *,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),
) -> int:
    """Make a key, list what is kept of all, or revoke one by its name or id."""
    path = settings.file or settings.folder / CALLERS
    if action == "ls":
        return _list(path)
    if not name:
        raise Refused(f"`allotrope keys {action}` needs a NAME")
    if action == "revoke":
        gone = revoked(path, name)
        print(f"revoked {gone.name} ({gone.id}) of tenant {gone.tenant}")
        return 0
    first = not path.exists()
    key = made(path, name, settings.tenant, settings.scope or ("*",))
    print(
        f"{name} may ask for {', '.join(settings.scope or ('*',))}; the key is shown only now:",
        file=sys.stderr,
    )
    print(key)
    if first:
        print("within a second a gateway that runs asks everybody for a key", file=sys.stderr)
    return 0


def _list(path: Path) -> int:
    ring = read(path)
    if not ring.keys:
        print(f"no keys in {path}", file=sys.stderr)
    rows = [("id", "name", "tenant", "made", "scopes")] if ring.keys else []
    rows += [(key.id, key.name, key.tenant, key.made, ", ".join(key.scopes)) for key in ring.keys]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0
