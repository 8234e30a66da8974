"""`allotrope replay`: a recorded decision computed again, and compared with its record."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from allotrope import compose
from allotrope.cli.impact import NAME, show_beside
from allotrope.cli.loading import AppName, Folder, TopologyName, planned, screen
from allotrope.evidence.archive.names import Archive, Found
from allotrope.evidence.archive.replay import Replayed, chosen, run_replay
from allotrope.kernel.errors import Refused
from allotrope.runtime.records import Record
from allotrope.runtime.telemetry.secrets import mask

_SHOWN = 20


@dataclass(frozen=True)
class Choice:
    """What to replay, and how."""

    folder: Folder = compose.FOLDER
    topology: TopologyName = compose.DEFAULT
    operation: Annotated[str, Parameter(help="Only the decisions of `Component.operation`.")] = ""
    debug: Annotated[bool, Parameter(help="Stop in pdb at the first line of the operation.")] = False


def replay(
    identifier: Annotated[str, NAME],
    app: AppName,
    /,
    *,
    choice: Annotated[Choice, Parameter(name="*")] = Choice(),
) -> int:
    """Compute recorded decisions again, without the app, and say whether they come out the same.

    The topology gives the settings. Exit code 1 when something differs.
    """
    plan = planned(app, choice.topology)
    archive = Archive(choice.folder)
    console = screen()
    found = archive.find(identifier)
    records = _records(archive, identifier, found, choice)
    if choice.debug and len(records) > 1:
        names = "\n".join(f"  {record.name}/{record.title}" for record in records[:_SHOWN])
        raise Refused(f"`{identifier}` is {len(records)} decisions; --debug takes one:\n{names}")
    results = [run_replay(plan, record, debug=choice.debug) for record in records]
    for result in results:
        _show(result, console)
    show_beside(archive, found, console)
    archive.close()
    different = sum(bool(result.differences) for result in results)
    if len(results) > 1:
        console.print(f"\n{len(results) - different:,} equal, {different:,} different", highlight=False)
    if different:
        console.print(
            f"settings are those of {plan.name}; --topology takes others", style="dim", highlight=False
        )
    return 1 if different else 0


def _records(archive: Archive, identifier: str, found: Found, choice: Choice) -> list[Record]:
    every = [record for origin in found.origins for record in archive.history.records(origin)]
    records = chosen(every, found.path, choice.operation or found.operation)
    if records:
        return records
    why = archive.history.passed_over()
    if every:
        names = ", ".join(f"{record.name}/{record.title}" for record in every[:_SHOWN])
        wanted = choice.operation or f"{found.path}/{found.operation}".strip("/")
        raise Refused(
            f"`{identifier}`: no decision {wanted} is kept; there are {names}" + (why and f".\n{why}")
        )
    raise Refused(
        f"no decision of `{identifier}` is kept in {archive.folder}: "
        f"{why or 'no operation took it, or it has aged'}.\nKept: {archive.kept()}"
    )


def _show(result: Replayed, console: Console) -> None:
    record = result.record
    text = Text(
        "different" if result.differences else "equal    ",
        style="bold red" if result.differences else "green",
    )
    text.append(f"  {record.name}/{record.title}", style="not bold default")
    text.append(f"  {result.compared}" if not result.differences else "", style="not bold dim")
    text.append(f"  release {record.release}" if record.release else "", style="not bold dim")
    console.print(text)
    if not result.differences:
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("   where", "recorded", "now"):
        table.add_column(title, overflow="fold")
    for place, recorded, now in result.differences:
        table.add_row(f"   {place}", Text(mask(recorded)), Text(mask(now)))
    console.print(table)
