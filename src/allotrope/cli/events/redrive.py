"""`allotrope events redrive`: deliver dead letters again, in the order of their keys, or discard them."""

import sys
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.events.letters import AppToStart, Component, KeyName, asked, dead, started
from allotrope.cli.events.show import LETTER
from allotrope.cli.loading import Folder, TopologyName, many
from allotrope.engines.desk import Redriven, Wish
from allotrope.engines.processes.control import Nobody
from allotrope.kernel.errors import Refused
from allotrope.runtime.effects.letters import Search


@dataclass(frozen=True)
class Which:
    """Which letters, and what becomes of them."""

    folder: Folder = compose.FOLDER
    component: Component = ""
    key: KeyName = None
    all: Annotated[bool, Parameter(help="All of the app.")] = False
    discard: Annotated[bool, Parameter(help="Drop them for good, instead of delivering them.")] = False
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], help="Do not ask before --all or --discard.")] = (
        False
    )
    app: AppToStart = ""
    topology: TopologyName = compose.DEFAULT


def redrive(
    identifier: Annotated[str, LETTER] = "", /, *, which: Annotated[Which, Parameter(name="*")] = Which()
) -> int:
    """Deliver dead letters again, or discard them.

    A key is redriven as a whole: its letters come in again in their order, at a new origin, until one fails. With an ID
    that is the key of this letter; `--discard` drops the letter alone.
    """
    named = bool(identifier or which.component or which.key is not None)
    if named == which.all:
        raise Refused(
            "say which: an ID of `allotrope events ls`, --component, --key, or --all; not --all with others"
        )
    search = Search(which.component, which.key, name=identifier)
    found = dead(which.folder, search)
    if not found.count:
        print("no dead letters")
        return 0
    meant = f"{many(found.count, 'dead letter')} of {many(len(found.keys), 'key')}"
    verb = "discard" if which.discard else "deliver"
    if (which.all or which.discard) and not which.yes and not _agreed(f"{verb} {meant}?"):
        print("nothing was done")
        return 1
    wish = Wish(search, which.discard)
    try:
        done = asked(which.folder, "redrive", wish, tuple[Redriven, ...])
    except Nobody:
        done = started(which.folder, which.app, which.topology, lambda desk: desk.redrive(wish))
    return _told(done, discard=which.discard)


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise Refused(f"{question} Say so with --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _told(done: tuple[Redriven, ...], *, discard: bool) -> int:
    """Print what came of it; return 1 when something is left."""
    for each in done:
        word = "discarded" if discard else "delivered"
        left = f", {each.left:,} left" if each.left else ""
        why = f": {each.reason}" if each.reason else ""
        print(f"{each.component} {each.key}: {each.gone:,} {word}{left}{why}")
    return 1 if not discard and any(each.left for each in done) else 0
