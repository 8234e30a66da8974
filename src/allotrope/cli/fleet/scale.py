"""`allotrope scale`: more or fewer replicas of a unit, while it runs."""

from typing import Annotated

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.loading import Folder, many
from allotrope.engines.processes.control import Way
from allotrope.kernel import codec

Unit = Annotated[str, Parameter(help="A unit, as `allotrope ps` shows it.")]


def scale(
    unit: Unit,
    count: Annotated[int, Parameter(help="How many replicas there are to be.")],
    /,
    *,
    folder: Folder = compose.FOLDER,
) -> int:
    """Have so many replicas of a unit, and return once they are ready."""
    Way(folder).ask("scale", codec.encode((unit, count)))
    print(f"{unit}: {many(count, 'replica')}")
    return 0
