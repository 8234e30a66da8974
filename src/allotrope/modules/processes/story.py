"""The story of one instance: what an answer or the clock makes of it. Pure: rows and events in, rows and events out.

Forward one step at a time; backward in reverse order, each undo confirmed before the next. What was asked for and is
done after all, once the process has turned back, is undone when its answer comes.
"""

from datetime import datetime
from typing import NamedTuple

import msgspec

from allotrope.kernel.messages import Event
from allotrope.modules.processes.course import ENDED, Course, Instance, TimedOut
from allotrope.modules.processes.recipes import Recipe
from allotrope.modules.processes.steps import Step

_EXPECTED = {"done": "asked", "failed": "asked", "undone": "undoing"}


class Turn(NamedTuple):
    """What came of something: the instance as it is now, and the events to publish."""

    instance: Instance
    events: tuple[Event, ...] = ()


def begun(course: Course, event: Event, now: datetime) -> Turn:
    """Return the first turn of a new instance."""
    fresh = Instance(event.entity, "running", now, now, (), ()).knowing(event)
    return _forward(course, fresh, now)


def answered(course: Course, instance: Instance, event: Event, now: datetime) -> Turn:
    """Return what an answer leads to; to one that nobody waits for, nothing: it repeats another."""
    word, step = course.roles[type(event)]
    if word == "overdue" and timed(course, instance):
        return _timed_out(course, instance, now)
    if step is None or instance.state(step) != _EXPECTED[word]:
        return Turn(instance)
    if word == "undone":
        return _backward(course, instance.having(step, "undone", now).knowing(event), now)
    turned = instance.status != "running"
    if word == "failed":
        failed = instance.having(step, "failed", now).knowing(event)
        return Turn(failed) if turned else _backward(course, _turned(failed), now)
    done = instance.having(step, "done", now).knowing(event)
    return _undo(course, _turned(done), step, now) if turned else _forward(course, done, now)


def timed(course: Course, instance: Instance) -> bool:
    """Return whether an instance may turn back once its time is up.

    It may not while it waits for a step that has no undo: whether that is done cannot be known, nor taken back.
    """
    asked = (step for step in course.steps if instance.state(step) == "asked")
    return instance.status == "running" and all(step.undo for step in asked)


def _timed_out(course: Course, instance: Instance, now: datetime) -> Turn:
    step = next((step for step in course.steps if instance.state(step) == "asked"), None)
    name = "" if step is None else step.name
    why = TimedOut(name, f"{name}: not answered in time")
    return _backward(course, _turned(instance.knowing(why)), now)


def unanswered(course: Course, instance: Instance) -> bool:
    """Return whether an answer may still come that would have to be undone."""
    return any(instance.state(step) in ("asked", "undoing") for step in course.steps)


def _turned(instance: Instance) -> Instance:
    return msgspec.structs.replace(instance, status="compensating")


def _forward(course: Course, instance: Instance, now: datetime) -> Turn:
    for step in course.steps:
        if instance.state(step) is None:
            request = _made(course, step.request, instance)
            return Turn(instance.having(step, "asked", now), (request,))
    return _ended(course, msgspec.structs.replace(instance, status="completed", moved=now), course.completed)


def _backward(course: Course, instance: Instance, now: datetime) -> Turn:
    """Go one step back, once nothing that is being undone is unconfirmed."""
    states = [(step, instance.state(step)) for step in reversed(course.steps)]
    if any(state == "undoing" for _, state in states):
        return Turn(instance)
    for step, state in states:
        if state == "done" and step.undo is not None:
            return _undo(course, instance, step, now)
    return _ended(
        course, msgspec.structs.replace(instance, status="compensated", moved=now), course.compensated
    )


def _undo(course: Course, instance: Instance, step: Step, now: datetime) -> Turn:
    if step.undo is None:  # its time-out did not turn the process; only another version of it can have
        return _backward(course, instance, now)
    return Turn(instance.having(step, "undoing", now), (_made(course, step.undo, instance),))


def _ended(course: Course, instance: Instance, recipe: Recipe | None) -> Turn:
    assert instance.status in ENDED
    if recipe is None or instance.told:
        return Turn(instance)
    return Turn(msgspec.structs.replace(instance, told=True), (_made(course, recipe, instance),))


def _made(course: Course, recipe: Recipe, instance: Instance) -> Event:
    """Return an event of this instance. ValueError when an author's function makes it for another one."""
    event = course.event(recipe, instance)
    if (key := str(getattr(event, course.key))) != instance.key:
        raise ValueError(f"{course.name} {instance.key} would publish {recipe.kind.__name__} for {key}")
    return event
