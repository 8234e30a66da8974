"""`allotrope events processes`: the declared processes of an app, and how their instances stand."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, get_args

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from allotrope import compose
from allotrope.cli.loading import AppName, Folder, loaded, many, screen
from allotrope.evidence.archive.history import History
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.modules.processes.api import Course, Instance, Status, course_of, drawn
from allotrope.modules.processes.api import mermaid as diagram

LISTED = 20
_SECOND = timedelta(seconds=1)


def processes(
    app: AppName,
    key: Annotated[str, Parameter(help="Of one instance: show each of its steps.")] = "",
    /,
    *,
    folder: Folder = compose.FOLDER,
    mermaid: Annotated[bool, Parameter(help="Print the declarations as Mermaid diagrams only.")] = False,
) -> int:
    """Draw the processes of an app, and list the instances that have not ended, the longest without a move first."""
    courses = [
        course for component in loaded(app).components.values() if (course := course_of(component.kind))
    ]
    if not courses:
        raise Refused(f"{app} has no process; declare one as a class of Process, see docs/events.md")
    if mermaid:
        print("\n\n".join(map(diagram, courses)))
        return 0
    history, console, found = History(folder), screen(), False
    durable = bool(history) and history.counts is None
    for course in courses:
        instances = list(_instances(history, course))
        if key:
            of_it = [instance for instance in instances if instance.key == key]
            found = found or bool(of_it)
            for instance in of_it:
                _show(course, instance, console)
        else:
            console.print(drawn(course), markup=False)
            if durable:
                _list(instances, console)
    history.close()
    if not durable:
        why = "there is none yet, or its app keeps nothing durable"
        console.print(f"no instance can be read from {folder}: {why}", style="dim", highlight=False)
    if key and not found:
        names = ", ".join(course.name for course in courses)
        raise Refused(
            f"no instance of {names} in {folder} has the key `{key}`; what has ended long ago is forgotten"
        )
    return 0


def _instances(history: History, course: Course) -> Iterator[Instance]:
    for table in ("alive", "ended"):
        for _, row in history.rows(f"{course.name}.{table}"):
            yield codec.decode(row, Instance)


def _list(instances: list[Instance], console: Console) -> None:
    counts = Counter(instance.status for instance in instances)
    words = (f"{counts[status]:,} {status}" for status in get_args(Status))
    console.print(f"  {', '.join(words)}", highlight=False)
    unfinished = [one for one in instances if one.status in ("running", "compensating")]
    table = Table(box=None, header_style="dim")
    for title in ("key", "", "since, UTC", "no move for", "waits for"):
        table.add_column(title, no_wrap=True)
    for one in sorted(unfinished, key=lambda one: (one.moved, one.key))[:LISTED]:
        waits = ", ".join(
            f"{step.step} {step.state}" for step in one.steps if step.state in ("asked", "undoing")
        )
        age = str((datetime.now(UTC) - one.moved) // _SECOND * _SECOND)
        table.add_row(Text(one.key), one.status, f"{one.since:%Y-%m-%d %H:%M:%S}", age, waits)
    if unfinished:
        console.print(table)
    if (more := len(unfinished) - LISTED) > 0:
        console.print(f"  and {many(more, 'more', 'more')}", style="dim")


def _show(course: Course, instance: Instance, console: Console) -> None:
    console.print(
        f"{course.name} {instance.key}: {instance.status}, begun {instance.since:%Y-%m-%d %H:%M:%S} UTC",
        markup=False,
        highlight=False,
    )
    table = Table(box=None, header_style="dim")
    for title in ("step", "", "UTC"):
        table.add_column(title, no_wrap=True)
    for step in instance.steps:
        table.add_row(step.step, step.state, f"{step.at:%Y-%m-%d %H:%M:%S}")
    console.print(table)
