"""What answers and the clock make of one instance, by hand and in every order that chance can think of."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from allotrope.kernel.components import Clock
from allotrope.kernel.messages import Event, Tick
from allotrope.modules.processes import story
from allotrope.modules.processes.api import Course, Instance, Process, Step, TimedOut, course_of

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Booked(Event, key="trip"):
    trip: str
    days: int


class Fly(Event, key="trip"):
    trip: str
    days: int


class Flown(Event, key="trip"):
    trip: str
    seat: str


class NoSeat(Event, key="trip"):
    trip: str


class Ground(Event, key="trip"):
    trip: str
    seat: str


class Grounded(Event, key="trip"):
    trip: str


class Sleep(Event, key="trip"):
    trip: str


class Slept(Event, key="trip"):
    trip: str


class NoBed(Event, key="trip"):
    trip: str
    reason: str


class Wake(Event, key="trip"):
    trip: str


class Woken(Event, key="trip"):
    trip: str


class Bill(Event, key="trip"):
    trip: str
    text: str


class Billed(Event, key="trip"):
    trip: str


class Ended(Event, key="trip"):
    trip: str


class Undone(Event, key="trip"):
    trip: str
    reason: str = ""


def bill(booked: Booked, flown: Flown) -> Bill:
    return Bill(booked.trip, f"{booked.days} days, seat {flown.seat}")


class Trip(Process[Booked], key="trip", timeout=HOUR, completed=Ended, compensated=Undone):
    fly = Step(Fly, done=Flown, failed=NoSeat, undo=Ground, undone=Grounded)
    sleep = Step(Sleep, done=Slept, failed=NoBed, undo=Wake, undone=Woken)
    bill = Step(bill, done=Billed)


def declared() -> Course:
    found = course_of(Trip)
    assert found is not None
    return found


COURSE = declared()
FLOWN, SLEPT, NO_BED = Flown("t", "3A"), Slept("t"), NoBed("t", "full")
UP = COURSE.time_up("t")


def told(*events: Event) -> tuple[Instance, list[Event]]:
    """Return an instance after some answers, and all that it has published."""
    turn = story.begun(COURSE, Booked("t", 7), START)
    said = list(turn.events)
    for event in events:
        turn = story.answered(COURSE, turn.instance, event, START)
        said += turn.events
    return turn.instance, said


def test_all_steps_one_after_the_other() -> None:
    instance, said = told(FLOWN, SLEPT, Billed("t"))
    assert said == [Fly("t", 7), Sleep("t"), Bill("t", "7 days, seat 3A"), Ended("t")]
    assert instance.status == "completed"
    assert [(one.step, one.state) for one in instance.standing().steps] == [
        ("fly", "done"),
        ("sleep", "done"),
        ("bill", "done"),
    ]


def test_a_failure_takes_back_what_was_done_and_names_the_reason() -> None:
    instance, said = told(FLOWN, NO_BED)
    assert said[2:] == [Ground("t", "3A")]
    assert instance.status == "compensating"
    turn = story.answered(COURSE, instance, Grounded("t"), START)
    assert turn.events == (Undone("t", "full"),)
    assert turn.instance.status == "compensated"


def test_a_failure_of_the_first_step_ends_it_at_once() -> None:
    instance, said = told(NoSeat("t"))
    assert said[1:] == [Undone("t")]
    assert instance.status == "compensated"


def test_a_time_out_says_which_step_has_not_answered() -> None:
    instance, _ = told(FLOWN)
    turn = story.answered(COURSE, instance, UP, START + HOUR)
    assert turn.events == (Ground("t", "3A"),)
    turn = story.answered(COURSE, turn.instance, Grounded("t"), START + HOUR)
    assert turn.events == (Undone("t", "sleep: not answered in time"),)


def test_an_answer_after_the_turn_is_taken_back_too_and_the_end_said_once() -> None:
    instance, _ = told(FLOWN)
    instance = story.answered(COURSE, instance, UP, START + HOUR).instance
    late = story.answered(COURSE, instance, SLEPT, START)
    assert late.events == (Wake("t"),)
    waiting = story.answered(COURSE, late.instance, Grounded("t"), START)
    assert waiting.events == ()
    assert waiting.instance.status == "compensating"
    turn = story.answered(COURSE, waiting.instance, Woken("t"), START)
    assert turn.instance.status == "compensated"
    assert [type(event) for event in turn.events] == [Undone]


def test_an_answer_after_the_end_is_taken_back_without_a_second_end() -> None:
    turn = story.answered(COURSE, told()[0], UP, START + HOUR)
    assert turn.instance.status == "compensated"
    assert story.unanswered(COURSE, turn.instance)
    late = story.answered(COURSE, turn.instance, FLOWN, START)
    assert (late.instance.status, late.events) == ("compensating", (Ground("t", "3A"),))
    end = story.answered(COURSE, late.instance, Grounded("t"), START)
    assert (end.instance.status, end.events) == ("compensated", ())
    assert not story.unanswered(COURSE, end.instance)


def test_it_does_not_turn_back_while_a_step_without_undo_is_asked() -> None:
    instance, _ = told(FLOWN, SLEPT)
    assert not story.timed(COURSE, instance)
    assert story.answered(COURSE, instance, UP, START + HOUR).instance is instance


def test_repeats_and_answers_to_nothing_lead_to_nothing() -> None:
    instance, said = told(Grounded("t"), FLOWN, FLOWN, NoSeat("t"), Billed("t"))
    assert said == [Fly("t", 7), Sleep("t")]
    assert instance.status == "running"


def test_a_function_of_another_instance_is_stopped() -> None:
    def stray(booked: Booked) -> Sleep:
        return Sleep(booked.trip + "x")

    class Astray(Process[Booked], key="trip", timeout=HOUR):
        sleep = Step(stray, done=Slept)

    course = course_of(Astray)
    assert course is not None
    with pytest.raises(ValueError, match="Astray t would publish Sleep for tx"):
        story.begun(course, Booked("t", 1), START)


def ground(booked: Booked, flown: Flown) -> Ground:
    if booked.trip == "t":
        raise RuntimeError("no such seat")
    return Ground(booked.trip, flown.seat)


class Flight(Process[Booked], key="trip", timeout=HOUR):
    fly = Step(Fly, done=Flown, undo=ground, undone=Grounded)
    sleep = Step(Sleep, done=Slept, undo=Wake, undone=Woken)


async def test_one_that_cannot_turn_back_does_not_hold_up_the_others() -> None:
    watch = Watch()
    flight = Flight(clock=watch)
    for name in ("t", "u"):
        await flight.advance(Booked(name, 7))
        await flight.advance(Flown(name, "3A"))
    watch.time += HOUR
    first, second = await flight.expire(Tick("Flight.expire", 0)) or ()
    with pytest.raises(RuntimeError, match="no such seat"):
        await flight.advance(first)
    assert await flight.advance(second) == (Ground("u", "3A"),)
    assert [one.status for one in await flight.unfinished()] == ["running", "compensating"]


class Watch(Clock):
    time = START

    def now(self) -> datetime:
        return self.time


def test_an_instance_of_an_older_declaration_goes_on() -> None:
    class Older(Process[Booked], key="trip", timeout=HOUR):
        taxi = Step(Wake, done=Woken)  # which there is no more
        fly = Step(Fly, done=Flown)

    older = course_of(Older)
    assert older is not None
    turn = story.answered(older, story.begun(older, Booked("t", 7), START).instance, Woken("t"), START)
    assert turn.events == (Fly("t", 7),)
    assert story.answered(COURSE, turn.instance, FLOWN, START).events == (Sleep("t"),)


UNDO = {Fly: (FLOWN, NoSeat("t"), Ground), Sleep: (SLEPT, NO_BED, Wake), Bill: (Billed("t"), None, None)}
CONFIRMED = {Ground: Grounded("t"), Wake: Woken("t")}


@given(some.integers(0, 10**9))
def test_whatever_is_answered_it_ends_completed_or_with_all_taken_back(seed: int) -> None:
    chance, now = Random(seed), START
    turn = story.begun(COURSE, Booked("t", 7), now)
    asked, said, kept = list(turn.events), list(turn.events), set[type[Event]]()
    for _ in range(60):
        choice = chance.random()
        events: tuple[Event, ...] = ()
        if choice < 0.05:
            turn = story.answered(COURSE, turn.instance, UP, now)
            events = turn.events
        elif choice < 0.4:
            now += timedelta(minutes=chance.randrange(90))
        elif choice < 0.9 and asked:
            request = asked.pop(chance.randrange(len(asked)))
            answer = answered(request, chance, kept)
            for _ in range(chance.choice((1, 1, 2))):  # some come twice
                turn = story.answered(COURSE, turn.instance, answer, now)
                events += turn.events
        said += events
        asked += [event for event in events if not isinstance(event, Ended | Undone)]
    while asked:  # in the end everybody answers
        turn = story.answered(COURSE, turn.instance, answered(asked.pop(0), chance, kept), now)
        said += turn.events
        asked += [event for event in turn.events if not isinstance(event, Ended | Undone)]
    ends = [type(event) for event in said if isinstance(event, Ended | Undone)]
    assert turn.instance.status in ("completed", "compensated")
    assert ends == [Ended if turn.instance.status == "completed" else Undone]
    assert kept == ({Fly, Sleep, Bill} if ends == [Ended] else set())
    assert len(said) == len(set(said)), f"something was asked for twice: {said}"
    assert TimedOut not in map(type, said)


def answered(request: Event, chance: Random, kept: set[type[Event]]) -> Event:
    """Return what somebody answers to a request, and note what has its effect by then."""
    if type(request) in CONFIRMED:
        kept.discard(next(step for step, row in UNDO.items() if row[2] is type(request)))
        return CONFIRMED[type(request)]
    done, failed, _ = UNDO[type(request)]
    if failed is not None and chance.random() < 0.3:
        return failed
    kept.add(type(request))
    return done
