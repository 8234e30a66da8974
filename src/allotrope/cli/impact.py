"""`allotrope impact`: what came of an input, an event or a decision, as a tree with counts."""

from collections import Counter
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from allotrope import compose
from allotrope.cli.loading import Folder, many, screen
from allotrope.evidence.archive.impact import Consequence
from allotrope.evidence.archive.impact import impact as consequence_of
from allotrope.evidence.archive.names import Archive, Found
from allotrope.kernel.errors import Refused

NAME = Parameter(
    help="An origin (42), an event (42/Intake.accept#000), a decision, a request id, a trace id or a key."
)
_OTHERS = 5  # inputs to name before the rest is counted
_ROWS = 3  # of one table that are named before the rest is counted


def impact(identifier: Annotated[str, NAME], /, *, folder: Folder = compose.FOLDER) -> int:
    """List all that came of an input, an event or a decision: events, decisions, rows, parked deliveries."""
    archive = Archive(folder)
    found = archive.find(identifier)
    show(archive, found, screen())
    archive.close()
    return 0


def show(archive: Archive, found: Found, console: Console) -> None:
    """Print the trees of all inputs found. Refused when nothing of them has been kept."""
    known = [
        origin
        for origin in found.origins
        if archive.history.events(origin) or archive.history.records(origin)
    ]
    if not known:
        why = archive.history.passed_over() or "no operation took it, or it has aged"
        raise Refused(f"no decision of it is kept in {archive.folder}: {why}.\nKept: {archive.kept()}")
    for origin in known:
        root = consequence_of(archive.history, origin, found.path, found.operation)
        tree = Tree(_event(root, whole=True), guide_style="dim")
        _grow(tree, root, "" if archive.history.counts else "  (not in the log yet)")
        console.print(tree, soft_wrap=False)
        console.print(f"in all: {counted(root.totals())}", highlight=False)
    show_beside(archive, found, console)


def show_beside(archive: Archive, found: Found, console: Console) -> None:
    """Print what else the name stands for, and whether some decisions may be missing."""
    if found.others:
        named = [f"{origin} {archive.history.kind(origin)}".strip() for origin in found.others[:_OTHERS]]
        more = f" and {len(found.others) - _OTHERS:,} more" if len(found.others) > _OTHERS else ""
        head = f"the newest input with this key, {found.origins[0]}; older are "
        console.print(f"{head}{', '.join(named)}{more}", style="dim", highlight=False)
    sampled = all(record.trace for origin in found.origins for record in archive.history.records(origin))
    if not sampled and (why := archive.history.passed_over()):
        console.print(f"some may be missing: {why}", style="dim", highlight=False)
    for why in filter(None, map(archive.history.removed, found.origins)):
        console.print(f"some may be missing: {why}", style="dim", highlight=False)


def counted(totals: Counter[str]) -> str:
    """Return totals in words; what there is none of is left out, but for events and decisions."""
    words = [many(totals["events"], "event"), many(totals["decisions"], "decision")]
    words += [many(totals[name], name.removesuffix("s")) for name in ("rows",) if totals[name]]
    return ", ".join([*words, *([f"{totals['parked']} parked"] if totals["parked"] else [])])


def _event(event: Consequence, missing: str = "", *, whole: bool = False) -> Text:
    text = Text()
    text.append(event.kind or "unknown", style="bold cyan" if not whole else "bold")
    if event.event is not None and event.event.key:
        text.append(f" {event.event.key}")
    text.append(f"  {event.name if whole else event.name.rpartition('/')[2]}", style="dim")
    if whole and event.event is not None and event.event.request:
        text.append(f"  request {event.event.request}", style="dim")
    if event.event is None:
        text.append(missing, style="yellow")
    return text


def _grow(tree: Tree, event: Consequence, missing: str) -> None:
    for decision in event.decisions:
        record = decision.record
        text = Text(record.title, style="bold green" if not record.error else "bold red")
        facts = [many(len(record.tape), "read")] if record.tape else []
        facts += [f"{record.attempts} attempts"] if record.attempts > 1 else []
        text.append(f"  {', '.join(facts)}" if facts else "", style="dim")
        if record.error:
            text.append(f"  {'parked: ' if decision.parked else ''}{record.error}", style="red")
        below = tree.add(text)
        for line in _written(record.writes):
            below.add(Text(line, style="magenta"))
        for child in decision.events:
            _grow(below.add(_event(child, missing)), child, missing)


def _written(writes: tuple[tuple[str, str, bytes | None], ...]) -> list[str]:
    lines = []
    for table in dict.fromkeys(table for table, _, _ in writes):
        rows = [(key, row) for name, key, row in writes if name == table]
        shown = [f"{key!r}{' deleted' if row is None else ''}" for key, row in rows[:_ROWS]]
        more = f" and {len(rows) - _ROWS:,} more" if len(rows) > _ROWS else ""
        lines.append(f"wrote {table}[{', '.join(shown)}{more}]")
    return lines
