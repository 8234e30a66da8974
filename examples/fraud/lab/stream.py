"""What reaches the app, in which order: payments as they are made, labels a week after. It sends nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from allotrope import Event
from examples.fraud.events import Booked, Labelled, Payment, Submitted
from examples.fraud.lab.dataset import Transactions
from examples.fraud.lab.generator import DAY_S, LABEL_DELAY_DAYS

Rows = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

WINDOW_DAYS = 30  # the longest window of a view
TRAINING_DAYS = 7
LEAD_DAYS = WINDOW_DAYS + LABEL_DELAY_DAYS + TRAINING_DAYS + LABEL_DELAY_DAYS  # of data before a decision


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which days do what, told by the first and the last day on which payments are decided.

    A label is known a week after its payment. So the newest week that can train ends a week before `live`,
    and its first terminal window begins a label's delay and a window before that.
    """

    live: date
    last: date

    @classmethod
    def after(cls, first: date, days: int) -> Schedule:
        """Return the schedule of `days` days of decisions whose data begins on the day `first`."""
        live = first + timedelta(days=LEAD_DAYS)
        return cls(live, live + timedelta(days=days - 1))

    @property
    def training(self) -> tuple[date, date]:
        """Return the first and the last day whose payments train the model."""
        end = self.live - timedelta(days=LABEL_DELAY_DAYS + 1)
        return end - timedelta(days=TRAINING_DAYS - 1), end

    @property
    def first(self) -> date:
        """Return the first day of data that is needed."""
        return self.live - timedelta(days=LEAD_DAYS)

    @property
    def history(self) -> tuple[date, date]:
        """Return the first and the last day of what an app must have seen to decide on the day `live`."""
        return self.live - timedelta(days=WINDOW_DAYS), self.live - timedelta(days=1)

    def days(self) -> list[date]:
        """Return the days on which payments are decided."""
        return [self.live + timedelta(days=day) for day in range((self.last - self.live).days + 1)]


def ids(payments: Transactions) -> list[str]:
    """Return the ids of payments as the app knows them."""
    return [f"p{number}" for number in payments.id.tolist()]


class Day:
    """What the bank learns on one day, in order, as plain values: an event is made without touching numpy.

    `row` is the place in the payments, `label` whether it is the truth about a payment and not the payment.
    """

    def __init__(self, payments: Transactions, rows: Rows, labels: Flags) -> None:
        """Read the columns once."""
        part = payments.take(rows)
        self.row: list[int] = rows.tolist()
        self.label: list[bool] = labels.tolist()
        self.id = ids(part)
        self.customer = [f"c{number}" for number in part.customer.tolist()]
        self.terminal = [f"t{number}" for number in part.terminal.tolist()]
        self.amount: list[float] = part.amount.tolist()
        self.fraud: list[int] = part.fraud.astype(np.int8).tolist()
        self.at = [datetime.fromtimestamp(second, UTC) for second in part.time.astype(np.int64).tolist()]

    def __len__(self) -> int:
        return len(self.row)

    def payment(self, place: int) -> Payment:
        """Return a payment as intake lets it through."""
        return Payment(*self._fields(place))

    def submitted(self, place: int) -> Submitted:
        """Return a payment as its terminal sends it."""
        return Submitted(*self._fields(place))

    def booked(self, place: int) -> Booked:
        """Return a payment as the bank's old system has kept it."""
        return Booked(*self._fields(place))

    def _fields(self, place: int) -> tuple[str, str, str, float, datetime]:
        return self.id[place], self.customer[place], self.terminal[place], self.amount[place], self.at[place]

    def labelled(self, place: int) -> Labelled:
        """Return the truth about a payment."""
        return Labelled(self.id[place], self.terminal[place], self.fraud[place], self.at[place])


def learned(payments: Transactions, first: date, last: date) -> Iterator[Day]:
    """Yield what the bank learns on each of the days `first` to `last`, both included; a day may be empty.

    A label is known exactly a week after its payment, and before the payments of that very second.
    """
    delay_s = LABEL_DELAY_DAYS * DAY_S
    paid = payments.time.astype("datetime64[s]").astype(np.int64)
    moment = np.concatenate([paid + delay_s, paid])
    # Stable, and labels stand first: they stay before the payments of their second, each kind in its order.
    order = np.argsort(moment, kind="stable")
    start = int(np.datetime64(first, "s").astype(np.int64))
    days = (last - first).days + 1
    ends = np.searchsorted(moment[order], start + np.arange(days + 1) * DAY_S)
    for begin, end in pairwise(ends):
        chosen = order[begin:end]
        yield Day(payments, chosen % len(payments), chosen < len(payments))


class Arrival(NamedTuple):
    """One input on its way to the app: when, what, the id of the attempt. No event: a full hour's tick."""

    at: datetime
    event: Event | None
    request: str


def history(payments: Transactions, schedule: Schedule) -> Iterator[Arrival]:
    """Yield what the app must have seen before it decides: old payments, and labels as they became known."""
    for day in learned(payments, *schedule.history):
        for place, label in enumerate(day.label):
            yield _label(day, place) if label else _past(day, place)


def streamed(payments: Transactions, today: date) -> Iterator[Arrival]:
    """Yield a day's inputs: payments to decide on, labels as they become known, a tick at every full hour."""
    (day,) = learned(payments, today, today)
    midnight = datetime(today.year, today.month, today.day, tzinfo=UTC)
    hours = [midnight + timedelta(hours=hour) for hour in range(24)]
    delay = timedelta(days=LABEL_DELAY_DAYS)
    for place, label in enumerate(day.label):
        moment = day.at[place] + delay if label else day.at[place]
        while hours and hours[0] <= moment:
            yield Arrival(hours.pop(0), None, "")
        yield _label(day, place) if label else _new(day, place)
    yield from (Arrival(hour, None, "") for hour in hours)


def _past(day: Day, place: int) -> Arrival:
    return Arrival(day.at[place], day.booked(place), f"booked/{day.id[place]}")


def _new(day: Day, place: int) -> Arrival:
    return Arrival(day.at[place], day.submitted(place), f"submitted/{day.id[place]}")


def _label(day: Day, place: int) -> Arrival:
    known = day.at[place] + timedelta(days=LABEL_DELAY_DAYS)
    return Arrival(known, day.labelled(place), f"labelled/{day.id[place]}")
