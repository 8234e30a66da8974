"""Process: a declared sequence of steps as an ordinary component, with tables, handlers and ticks like any other.

Nothing here is special to a runtime: exactly one effect, order by key, retries and parking are the kernel's.
"""

import functools
import operator
import sys
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from allotrope.kernel.components import MARK as COMPONENT
from allotrope.kernel.components import App, Clock, component
from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Event, MessageType, Place, Tick
from allotrope.kernel.operations import MARK, every, on, query
from allotrope.kernel.tables import Table
from allotrope.modules.processes import story
from allotrope.modules.processes.course import ENDED, Course, Instance, Standing
from allotrope.modules.processes.recipes import Recipe
from allotrope.modules.processes.rules import Finding, findings
from allotrope.modules.processes.steps import Maker, Step

E = TypeVar("E", bound=Event)
_LOT = 500  # instances that one tick takes at most: they are one transaction
_DAY = timedelta(days=1)  # as long as a request id is known


@dataclass(frozen=True, kw_only=True, eq=False)
class Process(Generic[E]):
    """A sequence of steps across components that ends completed, or has all that it did taken back:

    `class Order(Process[Placed], key="order", timeout=timedelta(minutes=30)):`, its steps as attributes.

    It begins with an event of type E. Each step is asked for by an event, and answered by one; when a step has
    failed or the time is up, what was done is undone, the last step first. `completed` and `compensated` are published
    at the end. An instance that has ended is forgotten after `keep`, unless an answer is still to come.
    """

    __course__: ClassVar[Course]
    alive: Table[Instance] = field(default_factory=Table)
    ended: Table[Instance] = field(default_factory=Table)
    # Ticks look through these two only: what a tick has read is a part of its record.
    due: Table[datetime] = field(default_factory=Table)  # of each that may run out of time, since when
    past: Table[datetime] = field(default_factory=Table)  # of each that may be forgotten, when it has ended
    clock: Clock = field(default_factory=Clock)

    def __init_subclass__(
        cls, *, key: str, timeout: timedelta, completed: Maker | None = None, compensated: Maker | None = None,
        keep: timedelta = _DAY,
    ) -> None:  # fmt: skip
        """Make the class a component. Refused when it has no steps or does not say what begins it."""
        super().__init_subclass__()
        caller = sys._getframe(1)
        place = Place(caller.f_code.co_filename, caller.f_lineno)
        steps = tuple(member for member in vars(cls).values() if isinstance(member, Step))
        start = _start(cls)
        if start is None:
            raise Refused(f"{cls.__name__} ({place}) does not say what begins it; write Process[Placed]")
        if not steps:
            raise Refused(
                f"{cls.__name__} ({place}) has no steps; add one, as `reserve = Step(Reserve, done=Reserved)`"
            )
        course = cls.__course__ = Course(
            name=cls.__name__, start=start, overdue=_overdue(cls, key, place), key=key, place=place, steps=steps,
            timeout=timeout, keep=keep,
            completed=None if completed is None else Recipe(completed, f"`completed` of {cls.__name__}"),
            compensated=None if compensated is None else Recipe(compensated, f"`compensated` of {cls.__name__}"),
        )  # fmt: skip
        for operation in _operations(course):
            setattr(cls, operation.__name__, operation)
        component(cls)
        setattr(cls, COMPONENT, place.line)

    @classmethod
    def __examine__(cls, app: App) -> Iterator[Finding]:
        """Yield what is wrong with the declaration in this app."""
        return findings(cls.__course__, app)

    async def advance(self, event: Event) -> tuple[Event, ...] | None:
        """Go on after an event; one that begins what has begun, or answers what was not asked, leads to nothing."""
        course, now = self.__course__, self.clock.now()
        old = await self._found(event.entity)
        begins = course.roles[type(event)].word == "begun"
        if begins == (old is not None):
            return None
        turn = story.answered(course, old, event, now) if old is not None else story.begun(course, event, now)
        return await self._kept(old, turn) or None

    async def expire(self, tick: Tick) -> tuple[Event, ...] | None:
        """Say of which instances the time is up, the oldest first; each turns back by itself, and may fail alone."""
        course, now = self.__course__, self.clock.now()
        since = [(since, key) async for key, since in self.due.items()]
        late = sorted(pair for pair in since if now - pair[0] >= course.timeout)[:_LOT]
        for _, key in late:
            await self.due.delete(key)
        return tuple(course.time_up(key) for _, key in late) or None

    @query
    async def state(self, key: str) -> Standing | None:
        """Return how an instance stands; None when there was none, or it has ended long ago."""
        found = await self._found(key)
        return None if found is None else found.standing()

    @query
    async def unfinished(self, most: int = 20) -> tuple[Standing, ...]:
        """Return the instances that have not ended, the longest without a move first."""
        standings = [instance.standing() async for _, instance in self.alive.items()]
        return tuple(sorted(standings, key=lambda one: (one.moved, one.key))[:most])

    @every(timedelta(hours=1))
    async def forget(self, tick: Tick) -> None:
        """Drop what has ended long ago, unless an answer may still come."""
        keep, now = self.__course__.keep, self.clock.now()
        old = [key async for key, ended in self.past.items() if now - ended >= keep]
        for key in old[:_LOT]:
            await self.ended.delete(key)
            await self.past.delete(key)

    async def _found(self, key: str) -> Instance | None:
        return await self.alive.get(key) or await self.ended.get(key)

    async def _kept(self, old: Instance | None, turn: story.Turn) -> tuple[Event, ...]:
        course, new, key = self.__course__, turn.instance, turn.instance.key
        if new is old:
            return ()
        before = "" if old is None else old.status
        was_timed, is_timed = old is not None and story.timed(course, old), story.timed(course, new)
        if is_timed and not was_timed:
            await self.due.put(key, new.since)
        elif was_timed and not is_timed:
            await self.due.delete(key)
        home, other = (self.ended, self.alive) if new.status in ENDED else (self.alive, self.ended)
        await home.put(key, new)
        if before and (before in ENDED) != (new.status in ENDED):
            await other.delete(key)
        if new.status in ENDED and not story.unanswered(course, new):
            await self.past.put(key, new.moved)
        return turn.events


def course_of(kind: type) -> Course | None:
    """Return what was declared of a process; None of any other component."""
    return kind.__course__ if issubclass(kind, Process) else None


def _start(cls: type) -> type[Event] | None:
    for base in getattr(cls, "__orig_bases__", ()):
        given = typing.get_args(base)
        if typing.get_origin(base) is Process and isinstance(given[0], type):
            return typing.cast(type[Event], given[0])
    return None


def _any_of(kinds: Sequence[type[Event]]) -> Any:
    """Return the union of some types."""
    return functools.reduce(operator.or_, kinds)


def _overdue(cls: type, key: str, place: Place) -> type[Event]:
    space = {
        "__annotations__": {key: str}, "__module__": cls.__module__, "__line__": place.line,
        "__doc__": f"The time of an instance of {cls.__name__} is up.",
    }  # fmt: skip
    return typing.cast(type[Event], MessageType(f"{cls.__name__}Overdue", (Event,), space, key=key))


def _typed(
    body: Callable[..., Any], taken: Any, course: Course, kinds: Sequence[type[Event]]
) -> Callable[..., Any]:
    """Return a copy of a method that says what it takes and publishes, as if its author had written it."""
    assert isinstance(body, types.FunctionType)
    own = types.FunctionType(body.__code__, body.__globals__, body.__name__)
    published = types.GenericAlias(tuple, (_any_of(kinds), ...)) | None if kinds else None
    own.__annotations__ = {body.__code__.co_varnames[1]: taken, "return": published}
    own.__doc__, own.__qualname__ = body.__doc__, f"{course.name}.{body.__name__}"
    return own


def _operations(course: Course) -> Iterator[Callable[..., Any]]:
    """Yield the handlers of a process: of its events, and of ticks that look ten times within the time-out."""
    period = min(max(course.timeout / 10, timedelta(seconds=1)), timedelta(minutes=1))
    met = _typed(Process.advance, _any_of(course.takes()), course, course.gives())
    swept = _typed(Process.expire, Tick, course, (course.overdue,))
    for operation in (on(*course.takes())(met), every(period)(swept)):
        declared = getattr(operation, MARK)
        setattr(operation, MARK, msgspec.structs.replace(declared, place=course.place))
        yield operation
