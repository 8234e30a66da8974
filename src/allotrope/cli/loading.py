"""What most verbs begin with: the app by its name, its plan, and the words that their options share."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from allotrope import compose
from allotrope.kernel.components import App
from allotrope.kernel.errors import Refused
from allotrope.planning.plans import Plan

AppName = Annotated[
    str, Parameter(help="The module that holds the app: `examples.fraud`, or `package.module:variable`.")
]
TopologyName = Annotated[
    str, Parameter(name=["--topology", "-t"], help="A preset, or the path of a topology file (TOML).")
]
Folder = Annotated[Path, Parameter(name=["--folder", "-d"], help="Where the app keeps its files.")]
Output = Annotated[
    Path | None, Parameter(name=["--output", "-o"], help="The file to write; stdout without it.")
]


def screen() -> Console:
    """Return stdout as a console: a terminal gets lines broken between words, a file or a pipe whole ones."""
    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)


def loaded(name: str) -> App:
    """Return the app of a module. Refused, with the line of the user's code, when it cannot be imported."""
    if (path := Path(name.partition(":")[0])).suffix == ".py" or len(path.parts) > 1:
        module = ".".join(part for part in path.with_suffix("").parts if part not in (".", "..", path.anchor))
        raise Refused(
            f"`{name}` is a path; an app is named by its module, from the folder where it can be imported: "
            f"`{module.removesuffix('.__init__')}`"
        )
    return compose.load(name)


def planned(name: str, topology: str) -> Plan:
    """Return the plan of an app under a topology."""
    return compose.planned(loaded(name), compose.document(topology))


def many(count: int, one: str, more: str = "") -> str:
    """Return a count with its noun: `1 trace`, `2 traces`; `more` is its plural where an s does not do."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def give(text: str, output: Path | None) -> int:
    """Write a text into a file, or to stdout where none is named, and return the exit code."""
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise Refused(f"{output}: cannot be written: {error.strerror}; name another file") from None
    print(output, file=sys.stderr)
    return 0
