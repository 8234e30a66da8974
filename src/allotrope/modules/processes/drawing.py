"""Drawings of a declared process: text for a terminal, and Mermaid for a page. Not here: its instances."""

from collections.abc import Iterator

from allotrope.modules.processes.course import Course
from allotrope.modules.processes.recipes import Recipe
from allotrope.modules.processes.steps import Step


def drawn(course: Course) -> str:
    """Return a process as lines: what begins it, each step with its way back, how it ends."""
    rows = [("step", "asks", "done", "failed", "undo", "undone"), *map(_row, course.steps)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    head = f"{course.name}: begins with {course.start.__name__}, by {course.key}, turns back after {course.timeout}"
    ends = f"  ends with {_said(course.completed)} or, taken back, with {_said(course.compensated)}"
    return "\n".join([head, *lines, ends])


def _row(step: Step) -> tuple[str, ...]:
    failed = " | ".join(kind.__name__ for kind in step.failed)
    undone = "" if step.undone is None else step.undone.__name__
    undo = "" if step.undo is None else step.undo.kind.__name__
    return (
        step.name,
        step.request.kind.__name__,
        step.done.__name__,
        failed or "-",
        undo or "-",
        undone or "-",
    )


def _said(recipe: Recipe | None) -> str:
    return "no event" if recipe is None else recipe.kind.__name__


def mermaid(course: Course) -> str:
    """Return a process as a Mermaid state diagram: forward by answers, back by time-out or failure."""
    return "\n".join(["stateDiagram-v2", *(f"    {line}" for line in _lines(course))])


def _lines(course: Course) -> Iterator[str]:
    names = [step.name for step in course.steps]
    yield f"[*] --> {names[0]}: {course.start.__name__}"
    for index, step in enumerate(course.steps):
        back = next(
            (f"undo_{other.name}" for other in reversed(course.steps[:index]) if other.undo), "compensated"
        )
        yield f"{step.name} --> {[*names, 'completed'][index + 1]}: {step.done.__name__}"
        for kind in step.failed:
            yield f"{step.name} --> {back}: {kind.__name__}"
        if step.undo is not None and step.undone is not None:
            yield f"{step.name} --> {back}: time-out"
            yield f"undo_{step.name} --> {back}: {step.undone.__name__}"
    yield "completed --> [*]"
    yield "compensated --> [*]"
