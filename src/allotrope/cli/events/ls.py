"""`allotrope events ls`: dead letters, and what waits behind them."""

from typing import Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from allotrope import compose
from allotrope.cli.events.letters import Component, KeyName, dead, handler, moment, shown
from allotrope.cli.loading import Folder, many, screen
from allotrope.runtime.effects.letters import Found, Search

LINES = 50


def ls(
    *,
    folder: Folder = compose.FOLDER,
    component: Component = "",
    key: KeyName = None,
    since: Annotated[str, Parameter(help="Last tried after this: 2026-01-31T12:00 in UTC, or 90m ago.")] = "",
    reason: Annotated[str, Parameter(help="Only those whose reason has this in it.")] = "",
) -> int:
    """List dead letters: events that a handler could not take, and those of the same key behind them."""
    search = Search(component, key, moment(since) if since else 0, reason, limit=LINES)
    found = dead(folder, search)
    console = screen()
    if not found.letters:
        console.print("no dead letters")
        return 0
    made = table(found)
    if console.soft_wrap:  # whole lines for a file or a pipe
        made.width = console.measure(made, options=console.options.update(width=10_000)).maximum
    console.print(made)
    more = found.count - len(found.letters)
    if more:
        console.print(
            f"and {more:,} more; --component, --key, --since and --reason narrow it down", style="dim"
        )
    parked = many(len(found.keys), "parked key")
    console.print(f"{many(found.count, 'dead letter')} of {parked}; `allotrope events show ID`", style="dim")
    return 0


def table(found: Found) -> Table:
    """Return letters by component and key, in the order of each key."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("component", "key", "id", "event", "tries", "last try, UTC", "reason"):
        made.add_column(title, justify="right" if title == "tries" else "left", no_wrap=title != "reason")
    before = ("", "")
    for letter in found.letters:
        place = letter.title.partition(".")[0], letter.envelope.key
        waits = letter.kind == "Parked"
        made.add_row(
            *(place if place != before else ("", "")), Text(handler(letter)), letter.envelope.kind,
            str(letter.attempts), shown(letter.last),
            Text("waits behind" if waits else letter.reason, style="dim" if waits else "red"),
        )  # fmt: skip
        before = place
    return made
