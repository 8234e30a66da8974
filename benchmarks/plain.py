"""The fraud example as plain functions and dictionaries: what it costs without the framework. One process, no disk.

Written as a good engineer would who needs nothing but this one program; nothing of allotrope is imported. The model
is passed in as a function of a row. Answers equal those of the app: `payments` compares them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

DAY = 86_400.0  # seconds
DELAY = 7 * DAY
KEPT = 31 * DAY
LIMIT, REVIEW_FROM, DECLINE_FROM = 10_000.0, 0.25, 0.6

Model = Callable[[tuple[float, ...]], float]


class Submitted(msgspec.Struct, frozen=True):
    """A terminal asks for a payment."""

    id: str
    customer: str
    terminal: str
    amount: float
    at: datetime


class Decision(msgspec.Struct, frozen=True):
    """One payment's story; `fraud` is None until the truth is known."""

    id: str
    verdict: str
    probability: float
    version: str
    reviewer: str = ""
    fraud: bool | None = None


class Case(msgspec.Struct, frozen=True):
    """A payment that waits for a person."""

    id: str
    probability: float
    since: datetime


class History:
    """The times and values of one customer or terminal, in the order of time."""

    __slots__ = ("room", "times", "values")

    def __init__(self) -> None:
        """Start empty."""
        self.times: list[float] = []
        self.values: list[float] = []
        self.room = 64

    def add(self, time: float, value: float, kept: float) -> None:
        """Add one value, and forget those older than `kept` seconds now and then."""
        place = bisect_right(self.times, time)
        self.times.insert(place, time)
        self.values.insert(place, value)
        if len(self.times) > self.room:
            old = bisect_right(self.times, self.times[-1] - kept)
            del self.times[:old], self.values[:old]
            self.room = 2 * len(self.times) + 32

    def window(self, end: float, width: float) -> tuple[int, float]:
        """Return (count, mean) of the values with times in (end - width, end]; the sum is exact."""
        first, last = bisect_right(self.times, end - width), bisect_right(self.times, end)
        count = last - first
        return count, math.fsum(self.values[first:last]) / count if count else 0.0


NOTHING = History()


class Bank:
    """All state of the program."""

    def __init__(self, model: Model, version: str) -> None:
        """Start with one model and nothing seen."""
        self.model, self.version = model, version
        self.seen: set[str] = set()
        self.customers: dict[str, History] = {}
        self.terminals: dict[str, History] = {}
        self.decisions: dict[str, Decision] = {}
        self.cases: dict[str, Case] = {}
        self.totals = {"approve": 0, "review": 0, "decline": 0}

    def submit(self, payment: Submitted) -> str:
        """Decide on a payment and return the verdict."""
        reason = malformed(payment)
        if reason or payment.id in self.seen:
            self.decisions.setdefault(payment.id, Decision(payment.id, "decline", 1.0, "intake"))
            return "decline"
        self.seen.add(payment.id)
        probability = self.model(self.features(payment))
        self.book(payment)
        chosen = verdict(probability)
        self.totals[chosen] += 1
        if chosen == "review":
            self.cases[payment.id] = Case(payment.id, probability, payment.at.astimezone(UTC))
        self.decisions[payment.id] = Decision(payment.id, chosen, probability, self.version)
        return chosen

    def features(self, payment: Submitted) -> tuple[float, ...]:
        """Return the 15 features of the Fraud Detection Handbook."""
        at, time, amount = payment.at, payment.at.timestamp(), payment.amount
        spent = self.customers.get(payment.customer, NOTHING)
        count_1, mean_1 = spent.window(time, DAY)
        count_7, mean_7 = spent.window(time, 7 * DAY)
        count_30, mean_30 = spent.window(time, 30 * DAY)
        known = self.terminals.get(payment.terminal, NOTHING)
        risks_1, risk_1 = known.window(time - DELAY, DAY)
        risks_7, risk_7 = known.window(time - DELAY, 7 * DAY)
        risks_30, risk_30 = known.window(time - DELAY, 30 * DAY)
        return (
            amount, float(at.weekday() >= 5), float(at.hour <= 6),
            count_1 + 1.0, count_7 + 1.0, count_30 + 1.0,
            (count_1 * mean_1 + amount) / (count_1 + 1),
            (count_7 * mean_7 + amount) / (count_7 + 1),
            (count_30 * mean_30 + amount) / (count_30 + 1),
            float(risks_1), float(risks_7), float(risks_30), risk_1, risk_7, risk_30,
        )  # fmt: skip

    def book(self, payment: Submitted) -> None:
        """Count a payment in."""
        spent = self.customers.get(payment.customer)
        if spent is None:
            spent = self.customers[payment.customer] = History()
        spent.add(payment.at.timestamp(), payment.amount, KEPT)

    def label(self, payment_id: str, terminal: str, fraud: int, at: datetime) -> None:
        """Learn the truth about a payment."""
        known = self.terminals.get(terminal)
        if known is None:
            known = self.terminals[terminal] = History()
        known.add(at.timestamp(), fraud, KEPT + DELAY)
        if (row := self.decisions.get(payment_id)) is not None:
            self.decisions[payment_id] = msgspec.structs.replace(row, fraud=bool(fraud))


def malformed(payment: Submitted) -> str:
    """Return why a payment cannot be decided on, or ""."""
    if not payment.id or not payment.customer or not payment.terminal:
        return "id, customer and terminal must not be empty"
    if payment.amount < 0.0:
        return f"the amount {payment.amount:.2f} is negative"
    if payment.amount > LIMIT:
        return f"the amount {payment.amount:.2f} is above the limit of {LIMIT:.2f}"
    return ""


def verdict(probability: float) -> str:
    """Return what to do with a payment."""
    if probability >= DECLINE_FROM:
        return "decline"
    return "review" if probability >= REVIEW_FROM else "approve"
