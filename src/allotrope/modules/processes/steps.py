"""Steps: one line of a process as its author writes it. It says nothing of when, and keeps nothing."""

import sys
from collections.abc import Callable
from typing import Any

from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Event, Place
from allotrope.modules.processes.recipes import Recipe

Maker = Callable[..., Event]  # an Event class, or a function of events met before that returns one
Failures = type[Event] | tuple[type[Event], ...]


class Step:
    """One step of a `Process`: what it asks for, the answers, and what takes it back:

    `Step(Reserve, done=Reserved, failed=OutOfStock, undo=Release, undone=Released)`.
    """

    def __init__(
        self, request: Maker, *, done: type[Event], failed: Failures = (), undo: Maker | None = None,
        undone: type[Event] | None = None,
    ) -> None:  # fmt: skip
        """Ask with the event `request`; an undo needs the event that confirms it. Refused when one is no event."""
        caller = sys._getframe(1)
        self.place, self.name = Place(caller.f_code.co_filename, caller.f_lineno), ""
        if (undo is None) != (undone is None):
            raise Refused(
                f"Step({_name(request)}): `undo` is the event that takes the step back, `undone` the one that "
                "confirms it; give both or none"
            )
        self.request = Recipe(request, "`request` of a Step")
        self.undo = None if undo is None else Recipe(undo, "`undo` of a Step")
        self.done, self.undone = _event(done, "done"), None if undone is None else _event(undone, "undone")
        listed = failed if isinstance(failed, tuple) else (failed,)
        self.failed = tuple(_event(kind, "failed") for kind in listed)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def answers(self) -> tuple[tuple[str, type[Event]], ...]:
        """Return what may be answered: pairs of `done`, `failed` or `undone` and the event that says it."""
        undone = () if self.undone is None else (("undone", self.undone),)
        return (("done", self.done), *(("failed", kind) for kind in self.failed), *undone)


def _event(kind: Any, what: str) -> type[Event]:
    if not (isinstance(kind, type) and issubclass(kind, Event)):
        raise Refused(f"`{what}` of a Step is {_name(kind)}, which is no Event class; give one")
    return kind


def _name(thing: Any) -> str:
    return getattr(thing, "__name__", None) or repr(thing)
