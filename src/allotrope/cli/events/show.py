"""`allotrope events show`: one dead letter, with all that is known of it."""

from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.text import Text

from allotrope import compose
from allotrope.cli.events.letters import dead, handler, shown
from allotrope.cli.loading import Folder, many, screen
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.runtime.effects.letters import DeadLetter, Search

LETTER = Parameter(help="A dead letter as `allotrope events ls` shows it, its event, or its request id.")


def show(identifier: Annotated[str, LETTER], /, *, folder: Folder = compose.FOLDER) -> int:
    """Show an event that was not taken: what it says, why, how often it was tried, what waits behind it."""
    found = dead(folder, Search(name=identifier))
    if not found.letters:
        raise Refused(f"no dead letter is called `{identifier}`; `allotrope events ls` lists them")
    console = screen()
    for letter in found.letters:
        component, key = letter.title.partition(".")[0], letter.envelope.key
        row = next(p for p in found.keys if (p.component, p.key) == (component, key))
        behind = row.count - 1 if letter.number == row.head else 0
        for name, value in _lines(letter, behind):
            console.print(Text(f"{name:<9} {value}", style="red" if name == "reason" else ""))
    return 0


def _lines(letter: DeadLetter, behind: int) -> list[tuple[str, str]]:
    envelope = letter.envelope
    tried = many(letter.attempts, "time") if letter.attempts else "never: it waits behind others of its key"
    lines = [
        ("letter", handler(letter)),
        (
            "event",
            f"{envelope.kind} {msgspec.json.encode(codec.decode(envelope.body), enc_hook=repr).decode()}",
        ),
        ("key", envelope.key),
        ("accepted", f"{shown(envelope.at)} UTC"),
        ("reason", f"{letter.reason}"),
        ("tried", tried),
        ("first", f"{shown(letter.first)} UTC"),
        ("last", f"{shown(letter.last)} UTC"),
    ]
    lines += [("request", envelope.request)] if envelope.request else []
    lines += [("tenant", envelope.tenant)] if envelope.tenant else []
    lines += [("trace", letter.trace.split("-")[1])] if letter.trace else []
    return [*lines, ("behind it", many(behind, "event"))]
