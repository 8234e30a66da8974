"""Rules: what is wrong or poor about a declared process, for the plan to say all at once. It changes nothing."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from allotrope.kernel.components import App
from allotrope.kernel.errors import nearest
from allotrope.kernel.messages import Event, Message, Place
from allotrope.modules.processes.course import Course, TimedOut
from allotrope.modules.processes.recipes import Recipe
from allotrope.modules.processes.steps import Step


class Finding(NamedTuple):
    """One finding; one that is not `fatal` is a warning."""

    fatal: bool
    place: Place
    text: str


def findings(course: Course, app: App) -> Iterator[Finding]:
    """Yield all that an app and the declaration of a process do not agree on."""
    if course.timeout <= timedelta(0) or course.keep <= timedelta(0):
        yield Finding(
            True, course.place, f"{course.name}: timeout and keep must be over 0; write timedelta(minutes=30)"
        )
    for place, text in (*_roles(course), *_keys(course), *_recipes(course), *_unheard(course, app)):
        yield Finding(True, place, text)
    for place, text in (*_final(course), *_unsaid(course, app)):
        yield Finding(False, place, text)


def _roles(course: Course) -> Iterator[tuple[Place, str]]:
    """Yield the events that mean two things: an answer must tell which step it is of."""
    meant = Counter([course.start, *(kind for step in course.steps for _, kind in step.answers)])
    for kind, count in meant.items():
        if count > 1:
            users = [step.name for step in course.steps for _, answer in step.answers if answer is kind]
            also = ["the beginning"] if kind is course.start else []
            text = f"{course.name} waits for {kind.__name__} in more than one place: {', '.join([*also, *users])}"
            yield course.place, f"{text}; give each an event of its own"


def _keys(course: Course) -> Iterator[tuple[Place, str]]:
    for kind in course.takes():
        if kind.__key__ != course.key:
            by = f"by `{kind.__key__}`" if kind.__key__ else "by nothing"
            text = f"{course.name} waits for {kind.__name__}, which is keyed {by}; key it by `{course.key}`"
            yield course.place, f"{text}, so that the events of one instance keep their order"
    for kind in course.gives():
        if course.key not in kind.__struct_fields__:
            text = f"{course.name} publishes {kind.__name__}, which does not have `{course.key}`"
            yield (
                course.place,
                f"{text}, so nobody could answer it. {nearest(course.key, kind.__struct_fields__)}",
            )


def _recipes(course: Course) -> Iterator[tuple[Place, str]]:
    """Yield the events that could not be made from what is known when they are due."""
    sure: list[type[Message]] = [course.start]
    all_kinds: list[type[Message]] = [*course.takes(), TimedOut]
    if course.compensated is not None:
        yield from _made(course, course.compensated, course.place, sure, all_kinds)
    for step in course.steps:
        yield from _made(course, step.request, step.place, sure)
        sure.append(step.done)
        if step.undo is not None:
            yield from _made(course, step.undo, step.place, sure, all_kinds)
    if course.completed is not None:
        yield from _made(course, course.completed, course.place, sure)


def _made(
    course: Course,
    recipe: Recipe,
    place: Place,
    sure: list[type[Message]],
    kinds: list[type[Message]] | None = None,
) -> Iterator[tuple[Place, str]]:
    perhaps = tuple(kind for kind in kinds or () if kind not in sure)
    with contextlib.suppress(
        NameError
    ):  # an annotation that cannot be read is said once, of the event itself
        for flaw in recipe.flaws(tuple(sure), perhaps):
            yield place, f"{course.name}: {flaw}"


def _handlers(app: App, kind: type[Event]) -> list[str]:
    return [consumer.name for consumer in app.consumers(kind) if not consumer.is_view]


def _unheard(course: Course, app: App) -> Iterator[tuple[Place, str]]:
    for step in course.steps:
        for recipe in (step.request, step.undo):
            if recipe is not None and not _handlers(app, recipe.kind):
                name = recipe.kind.__name__
                text = f"{course.name}.{step.name} publishes {name}, which no component of app {app.name} handles"
                yield step.place, f"{text}; add one with @on({name}), or it would wait for ever"


def _final(course: Course) -> Iterator[tuple[Place, str]]:
    """Yield the steps that stay done although the process may turn back after them."""
    for index, step in enumerate(course.steps):
        later = next((other for other in course.steps[index + 1 :] if other.failed or other.undo), None)
        if step.undo is None and later is not None:
            text = f"{course.name}.{step.name} has no undo, and {later.name} after it may {_ends(later)}; "
            yield step.place, f"{text}give it one, or make it the last step that may fail"


def _ends(step: Step) -> str:
    return "fail" if step.failed else "time out"


def _unsaid(course: Course, app: App) -> Iterator[tuple[Place, str]]:
    published = {kind for component in app.components.values() for kind in component.publishes()}
    for step in course.steps:
        for word, kind in step.answers:
            if kind not in published:
                text = f"{course.name}.{step.name} waits for {kind.__name__} ({word}), which no component publishes"
                yield step.place, f"{text}; it has to come from outside"
