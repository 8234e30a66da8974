"""What `allotrope check examples.fraud` replays: four days of a small population, and all that can go wrong.

Heavy imports wait until a check asks: the app itself must start fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from heapq import merge
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from allotrope.evidence.inputs import Ask, Given, Publish, Tell
from examples.fraud.events import Labelled, Promoted, Submitted
from examples.fraud.models import MODEL, Models, digest_of, keep

if TYPE_CHECKING:
    from examples.fraud.lab.stream import Day

FIRST = date(2018, 4, 1)
LIVE, DAYS = FIRST + timedelta(days=7), 4
HOUR = timedelta(hours=1)
Timed = tuple[datetime, int, Given]  # the number keeps the order of one moment


def sample(seed: int) -> Iterator[Given]:
    """Yield inputs, equal ones for equal seeds; together they set off every operation, fault and refusal."""
    from examples.fraud.lab.generator import Population, simulate
    from examples.fraud.lab.stream import learned

    number = count()
    payments = simulate(Population(customers=20, terminals=15, days=7 + DAYS, radius=40.0, seed=seed))
    days = learned(payments, LIVE - timedelta(days=3), LIVE + timedelta(days=DAYS - 1))
    told = [one for day in days for place in range(len(day)) for one in _told(day, place, number)]
    inputs = [one for one in told if one[0].date() < LIVE + timedelta(days=DAYS)]  # it ends with open cases
    moments = [
        at for at, _, given in inputs if isinstance(given, Publish) and isinstance(given.event, Submitted)
    ]
    for share, promoted in zip((0.1, 0.6), _promoted(), strict=True):
        at = moments[int(share * len(moments))]
        inputs.append((at, next(number), Publish(promoted, at)))
    yield from (given for *_, given in merge(sorted(inputs), _wrong(moments, number)))


def _submits(given: Given) -> bool:
    return isinstance(given, Publish) and isinstance(given.event, Submitted)


def _told(day: Day, place: int, number: Iterator[int]) -> Iterator[Timed]:
    """Yield what one row of the data leads to."""
    at, week = day.at[place], timedelta(days=7)
    if day.label[place]:
        yield at + week, next(number), Publish(day.labelled(place), at + week)
        return
    if at.date() < LIVE:
        yield at, next(number), Publish(day.booked(place), at)
        return
    row = day.row[place]
    submitted = day.submitted(place)
    if row % 4 == 0:  # as a thief would: these are what people look at
        amount = round(submitted.amount * 5, 2)
        submitted = Submitted(submitted.id, submitted.customer, submitted.terminal, amount, at)
    yield at, next(number), Publish(submitted, at)
    yield from _followed(submitted, row, number)


def _followed(submitted: Submitted, row: int, number: Iterator[int]) -> Iterator[Timed]:
    """Yield what a terminal, a reviewer and a cardholder do next; every third case is left to the sweep."""
    at = submitted.at
    if row % 11 == 0:  # a terminal that missed the answer
        yield at + HOUR / 60, next(number), Publish(submitted, at + HOUR / 60)
    if row % 4 == 0 and row % 3:
        verdict = "approve" if row % 5 else "decline"
        for later in (HOUR, 2 * HOUR)[: 1 + (row % 8 == 0)]:  # the second one finds the case settled
            arguments = (submitted.id, verdict, "ann")
            yield at + later, next(number), Tell("Desk.settle", arguments, at + later)
    if row % 9 == 0:  # an early complaint: the truth about a payment of this very run
        label = Labelled(submitted.id, submitted.terminal, int(row % 2), at)
        yield at + 30 * HOUR, next(number), Publish(label, at + 30 * HOUR)
    if row % 12 == 0:
        yield at + 3 * HOUR, next(number), Ask("Decisions.of", (submitted.id,))


def _wrong(moments: list[datetime], number: Iterator[int]) -> Iterator[Timed]:
    """Yield, in order of time, what is refused at the door, and questions to every component."""
    for step, at in enumerate(moments[5::12]):
        bad = (
            Submitted(f"bad{step}", "", "t1", 10.0, at),
            Submitted(f"bad{step}", "c1", "t1", -1.0, at),
            Submitted(f"bad{step}", "c1", "t1", 20_000.0, at),
            Submitted("", "c1", "t1", 10.0, at),
            Submitted(f"bad{step}", "c1", "t1", 10.0, at + timedelta(days=400)),
        )
        yield at, next(number), Publish(bad[step % len(bad)], at)
        yield at, next(number), Tell("Desk.settle", (f"nobody{step}", "approve", "bob"), at)
        verdict = ("approve", "review", "decline")[step % 3]
        asked = Ask("Desk.waiting", (5,)) if step % 2 else Ask("Decisions.total", (verdict,))
        yield at, next(number), asked


def _promoted() -> tuple[Promoted, Promoted]:
    """Return two small models to be promoted one after the other, trained when they are first asked for."""
    folder = Path(Models.folder)
    first, second = (_model(folder / f"sample-{seed}.onnx", seed) for seed in (1, 2))
    return first, second


def _model(file: Path, seed: int) -> Promoted:
    if not file.is_file():
        from examples.fraud.lab.generator import Population, simulate
        from examples.fraud.lab.training import trained
        from examples.fraud.learning import Recipe

        payments = simulate(Population(customers=150, terminals=100, days=50, radius=15.0))
        recipe = Recipe(trees=10, depth=6, seed=seed, threads=1)
        model = trained(payments, FIRST + timedelta(days=30), FIRST + timedelta(days=49), recipe)
        keep(model, file.parent, file.stem)
    return Promoted(MODEL, file.stem, digest_of(file.read_bytes()))
