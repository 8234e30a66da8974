"""`allotrope new`: a small working app to begin with."""

import importlib.util
import keyword
import sys
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from allotrope.kernel.errors import Refused

PLACEHOLDER, ENDING = "PROJECT", ".tpl"
TAKEN = {"tests": "that is where its tests go", "allotrope": "that is this library"}

Name = Annotated[str, Parameter(help="What the app and its package are called: a Python name in lower case.")]
Parent = Annotated[Path, Parameter(name=["--folder", "-d"], help="Where its folder is made.")]


def new(name: Name, /, *, folder: Parent = Path()) -> int:
    """Write a small working app with a test that runs under every preset."""
    target = folder / name
    if name.isidentifier() and target.exists():
        raise Refused(f"{target} is there already; choose another name, another --folder, or remove it")
    if reason := unusable(name):
        raise Refused(f"an app cannot be called `{name}`: {reason}")
    if not folder.is_dir():
        raise Refused(f"{folder} is no folder; make it first, or choose another --folder")
    try:
        for path, text in files(name):
            where = target / path
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_text(text, "utf-8")
    except OSError as error:
        text = f"{error.filename or target}: {error.strerror}; choose a --folder that can be written"
        raise Refused(text) from None
    print(f"{name} is written. Begin with {target}/README.md, or at once:\n")
    print(f"    cd {target}")
    print(f"    allotrope plan {name}     # what runs where")
    print(f"    allotrope check {name}    # the same answers under every preset")
    print("    python -m pytest" + " " * (len(name) - 1) + "     # its tests; needs pytest")
    return 0


def unusable(name: str) -> str:
    """Return why an app cannot have this name, with a way out, or ""."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    if name != plain and plain.isidentifier() and not keyword.iskeyword(plain):
        return f"a package has a Python name in lower case; try `{plain}`"
    if (
        not (name.isascii() and name.isidentifier() and name[0] != "_")
        or keyword.issoftkeyword(name)
        or keyword.iskeyword(name)
    ):
        return "it is no Python name; use letters, digits and underscores, and begin with a letter"
    if name in TAKEN:
        return f"{TAKEN[name]}; try `{name}_app`"
    if name in sys.stdlib_module_names:
        return f"it would hide the module `{name}` of the standard library; try `{name}_app`"
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return f"it would hide the installed package `{name}`; try `{name}_app`"
    return ""


def files(name: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each file of an app called `name`."""
    for path, text in sorted(_templates(resources.files("allotrope.cli") / "template", "")):
        yield path.replace(PLACEHOLDER, name), text.replace(PLACEHOLDER, name)


def _templates(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, f"{path}{entry.name}/")
        elif entry.name.endswith(ENDING):
            yield path + entry.name.removesuffix(ENDING), entry.read_text("utf-8")
