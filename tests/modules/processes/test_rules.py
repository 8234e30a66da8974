"""What the plan says of a declaration that cannot work, and of one that will be regretted."""

from datetime import timedelta

import pytest

from allotrope.kernel.components import component
from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Event
from allotrope.kernel.operations import on
from allotrope.modules.processes.api import Process, Step
from tests.planning.refusal import faults, refusal, warnings

HOUR = timedelta(hours=1)


class Asked(Event, key="loan"):
    loan: str
    euros: int


class Check(Event, key="person"):
    loan: str
    person: str = ""


class Checked(Event, key="loan"):
    loan: str
    person: str


class Strange(Event, key="person"):
    person: str
    loan: str


class Pay(Event, key="loan"):
    loan: str
    euros: float
    account: str


class Paid(Event, key="loan"):
    loan: str


class Poor(Event, key="loan"):
    loan: str


class Note(Event, key="other"):
    other: str


def wrong(asked: Asked, poor: Poor) -> Pay:
    return Pay(asked.loan, asked.euros, "")


def taken(asked: Asked) -> Pay:
    return Pay(asked.loan, asked.euros, "")


@component
class Office:
    @on(Check)
    async def check(self, asked: Check) -> Checked | Strange:
        return Checked(asked.loan, asked.person)

    @on(Pay)
    async def pay(self, asked: Pay) -> Paid | Poor:
        return Paid(asked.loan)


def test_a_sound_one_has_nothing_to_say() -> None:
    class Loan(Process[Asked], key="loan", timeout=HOUR):
        check = Step(Check, done=Checked)
        pay = Step(taken, done=Paid)

    assert warnings(Loan, Office) == []


def test_every_fault_is_said_at_once_with_its_place() -> None:
    class Loan(Process[Asked], key="loan", timeout=timedelta(0), completed=Note):
        check = Step(Check, done=Strange)
        pay = Step(Pay, done=Paid, failed=Paid)
        again = Step(wrong, done=Poor)

    found = refusal(Loan, Office)
    assert all(line.startswith("test_rules.py:") for line in found)
    text = "\n".join(found)
    for part in (
        "Loan: timeout and keep must be over 0; write timedelta(minutes=30)",
        "Loan waits for Paid in more than one place: pay, pay; give each an event of its own",
        "Loan waits for Strange, which is keyed by `person`; key it by `loan`",
        "Loan publishes Note, which does not have `loan`, so nobody could answer it.",
        "Loan: Pay.account is in none of the events known by then (Asked, Strange); add it to one, give it a default",
        "Loan: Note.other is in none of the events known by then",
        "Loan: `poor` of wrong is Poor, which is not known by then (Asked, Strange, Paid)",
    ):
        assert part in text, part


def test_an_event_that_nobody_handles_is_a_fault() -> None:
    class Loan(Process[Asked], key="loan", timeout=HOUR):
        pay = Step(taken, done=Paid)

    (found,) = faults(Loan)
    assert "Loan.pay publishes Pay, which no component of app" in found
    assert "handles; add one with @on(Pay)" in found


def test_types_that_do_not_fit_are_a_fault() -> None:
    class Sum(Event, key="loan"):
        loan: str
        euros: str

    @component
    class Clerk:
        @on(Sum)
        async def add(self, asked: Sum) -> Paid:
            return Paid(asked.loan)

    class Loan(Process[Asked], key="loan", timeout=HOUR):
        pay = Step(Sum, done=Paid)

    (found,) = faults(Loan, Clerk)
    assert "Loan: Sum.euros and Asked.euros are not of one type; make them agree" in found


def test_what_will_be_regretted_is_a_warning() -> None:
    class Loan(Process[Asked], key="loan", timeout=HOUR):
        check = Step(Check, done=Checked)
        pay = Step(taken, done=Paid, failed=Note2)

    first, second = warnings(Loan, Office)
    assert "Loan.check has no undo, and pay after it may fail; give it one, or make it the last step" in first
    assert (
        "Loan.pay waits for Note2 (failed), which no component publishes; it has to come from outside"
        in second
    )


class Note2(Event, key="loan"):
    loan: str


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Step(Check, done=Checked, undo=Check), "give both or none"),
        (lambda: Step(Check, done=int), "`done` of a Step is int, which is no Event class; give one"),  # type: ignore[arg-type]
        (lambda: Step(Step(Check, done=Checked), done=Checked), "is a Step, which makes no event"),  # type: ignore[arg-type]
        (lambda: Step(len, done=Checked), "`request` of a Step is len, which makes no event"),  # type: ignore[arg-type]
    ],
)
def test_a_step_of_no_events_is_refused_where_it_stands(make: object, text: str) -> None:
    assert callable(make)
    with pytest.raises(Refused) as refused:
        make()
    assert text in str(refused.value)


def test_a_process_without_steps_or_beginning_is_refused() -> None:
    with pytest.raises(Refused, match=r"Loan .* has no steps; add one"):

        class Loan(Process[Asked], key="loan", timeout=HOUR):
            pass

    with pytest.raises(Refused, match=r"Bare .* does not say what begins it; write Process\[Placed\]"):

        class Bare(Process, key="loan", timeout=HOUR):  # type: ignore[type-arg]
            pay = Step(Pay, done=Paid)
