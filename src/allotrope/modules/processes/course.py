"""Course: a declared process ready to be followed, and the row that says how far one instance has come."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal, NamedTuple

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.messages import Event, Message, Place
from allotrope.modules.processes.recipes import Recipe
from allotrope.modules.processes.steps import Step

State = Literal["asked", "done", "failed", "undoing", "undone"]
Status = Literal["running", "compensating", "completed", "compensated"]
ENDED: tuple[Status, ...] = ("completed", "compensated")


class Progress(Message):
    """How far one step is, and since when."""

    step: str
    state: State
    at: datetime


class TimedOut(Message):
    """That the time was up, for events made after it: at which step, and a `reason` to be shown."""

    step: str
    reason: str


class Known(Message):
    """One event that an instance has met: its type's name, and its bytes."""

    kind: str
    body: bytes


class Standing(Message):
    """How an instance stands: `since` it was begun, `moved` when it last went on; no content of its events."""

    key: str
    status: Status
    since: datetime
    moved: datetime
    steps: tuple[Progress, ...]


class Instance(Message):
    """One instance, as it is kept; `told` says that its end was published."""

    key: str
    status: Status
    since: datetime
    moved: datetime
    steps: tuple[Progress, ...]
    known: tuple[Known, ...]
    told: bool = False

    def state(self, step: Step) -> State | None:
        """Return how far a step is; None before it was asked."""
        return next((one.state for one in self.steps if one.step == step.name), None)

    def having(self, step: Step, state: State, now: datetime) -> "Instance":
        """Return it with a step in another state."""
        rest = tuple(one for one in self.steps if one.step != step.name)
        return msgspec.structs.replace(self, moved=now, steps=(*rest, Progress(step.name, state, now)))

    def knowing(self, met: Message) -> "Instance":
        """Return it with one more event to make others from."""
        known = Known(type(met).__name__, codec.encode(met))
        return msgspec.structs.replace(self, known=(*self.known, known))

    def standing(self) -> Standing:
        """Return what may be shown of it."""
        return Standing(self.key, self.status, self.since, self.moved, self.steps)


class Role(NamedTuple):
    """What an event means to a process: `begun`, `overdue`, or one of the answers of a step."""

    word: str
    step: Step | None


@dataclass(frozen=True, kw_only=True)
class Course:
    """What an author has declared of one process."""

    name: str
    start: type[Event]
    overdue: type[Event]  # that the time of an instance is up
    key: str
    place: Place
    steps: tuple[Step, ...]
    timeout: timedelta
    keep: timedelta
    completed: Recipe | None
    compensated: Recipe | None

    @cached_property
    def roles(self) -> dict[type[Event], Role]:
        """Return what each event means that it waits for."""
        answers = {kind: Role(word, step) for step in self.steps for word, kind in step.answers}
        return {self.start: Role("begun", None)} | answers | {self.overdue: Role("overdue", None)}

    @cached_property
    def _kinds(self) -> dict[str, type[Message]]:
        known: tuple[type[Message], ...] = (*self.roles, TimedOut)
        return {kind.__name__: kind for kind in known}

    def event(self, recipe: Recipe, instance: Instance) -> Event:
        """Return an event made from what an instance has met."""
        known = [
            codec.decode(one.body, self._kinds[one.kind]) for one in instance.known if one.kind in self._kinds
        ]
        return recipe.event(known)

    def time_up(self, key: str) -> Event:
        """Return the event that the time of an instance is up."""
        kind: Any = self.overdue
        event: Event = kind(key)
        return event

    def takes(self) -> tuple[type[Event], ...]:
        """Return the events that it waits for, the one that begins it first."""
        return tuple(self.roles)

    def gives(self) -> tuple[type[Event], ...]:
        """Return the events that it may publish."""
        return _made_by((*(step.request for step in self.steps), self.completed)) + self.takes_back()

    def takes_back(self) -> tuple[type[Event], ...]:
        """Return the events that it may publish once it has turned back."""
        return _made_by((*(step.undo for step in self.steps), self.compensated))


def _made_by(recipes: Iterable[Recipe | None]) -> tuple[type[Event], ...]:
    return tuple(dict.fromkeys(recipe.kind for recipe in recipes if recipe is not None))
