"""How the Fraud Detection Handbook judges a model, as pure functions. It trains nothing and reads no file.

Source: Le Borgne, Siblini, Lebichot, Bontempi, Reproducible Machine Learning for Credit Card Fraud Detection,
2022: chapter 3, "Baseline fraud detection system" (split), and chapter 4 (metrics).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
# From features, shape (rows, 15), to the probability of fraud, shape (rows,).
Score = Callable[[npt.NDArray[np.float32]], Floats]
Train = Callable[[npt.NDArray[np.float32], Flags], Score]

FEATURES = (
    "amount",  # euros
    "during_weekend",  # 1 on Saturday and Sunday
    "during_night",  # 1 from 0:00 to 6:59
    *(f"customer_count_{days}d" for days in (1, 7, 30)),  # payments of the customer, this one included
    *(f"customer_mean_{days}d" for days in (1, 7, 30)),  # their mean amount, euros
    *(f"terminal_count_{days}d" for days in (1, 7, 30)),  # payments at the terminal, up to seven days ago
    *(f"terminal_risk_{days}d" for days in (1, 7, 30)),  # share of frauds among these
)


@dataclass(frozen=True, slots=True)
class Sample:
    """Payments to train and to judge on; one array per column, rows in any order.

    `features` has shape (rows, 15) in the order of FEATURES; the others have shape (rows,). `day` counts from
    any day.
    """

    features: npt.NDArray[np.float32]
    fraud: Flags
    day: Integers
    customer: Integers


@dataclass(frozen=True, slots=True)
class Period:
    """Which days train and which judge: from `first` on `train` days, then `delay` days, then `test` days."""

    first: int
    train: int = 7
    delay: int = 7
    test: int = 7


@dataclass(frozen=True, slots=True)
class Outcome:
    """How well frauds were told apart on the days of the test; each figure lies in 0 to 1, more is better."""

    auc: float
    average_precision: float
    card_precision: float


def training(sample: Sample, period: Period) -> Flags:
    """Return which rows train, shape (rows,)."""
    return (sample.day >= period.first) & (sample.day < period.first + period.train)


def holdout(sample: Sample, period: Period) -> Flags:
    """Return which rows judge, shape (rows,): those of customers whose card is not known to be compromised.

    Known on a day of the test are the frauds from `first` on whose label has arrived: those of over `delay`
    days ago. A bank blocks such a card, so to find it once more earns nothing.
    """
    chosen = np.zeros(len(sample.day), np.bool_)
    labelled = period.first + period.train
    for day in range(period.test):
        known = sample.fraud & (sample.day >= period.first) & (sample.day < labelled + day)
        today = sample.day == labelled + period.delay + day
        chosen |= today & ~np.isin(sample.customer, sample.customer[known])
    return chosen


def judged(sample: Sample, period: Period, train: Train) -> Outcome:
    """Return how well the model that `train` makes of the training days tells the frauds of the test days.

    Raises ValueError when the training or the test days lack frauds or honest payments.
    """
    learn, test = training(sample, period), holdout(sample, period)
    for name, rows in (("training", learn), ("test", test)):
        frauds = int(sample.fraud[rows].sum())
        if frauds in (0, int(rows.sum())):
            raise ValueError(
                f"{frauds} frauds among {int(rows.sum())} payments on the {name} days of {period}; "
                "both kinds are needed: choose other days, or more of them."
            )
    score = train(sample.features[learn], sample.fraud[learn])(sample.features[test])
    fraud = sample.fraud[test]
    return Outcome(
        auc=auc(fraud, score),
        average_precision=average_precision(fraud, score),
        card_precision=card_precision(fraud, score, sample.day[test], sample.customer[test]),
    )


def auc(fraud: Flags, score: Floats) -> float:
    """Return the chance that a fraud scores above an honest payment, a tie counting one half; shapes (rows,).

    Source: the U statistic of Mann & Whitney, 1947, which is the area under the ROC curve.
    """
    _, place, ties = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(ties) - (ties - 1) / 2)[place]  # from 1 up, the mean rank within a tie
    frauds = int(fraud.sum())
    honest = len(fraud) - frauds
    return float((rank[fraud].sum() - frauds * (frauds + 1) / 2) / (frauds * honest))


def average_precision(fraud: Flags, score: Floats) -> float:
    """Return the mean precision at each fraud found, from the highest score down; ties are found at once."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.nonzero(np.diff(score[order]))[0], len(score) - 1)
    found = np.cumsum(fraud[order])[ends]
    return float((np.diff(found, prepend=0) * found / (ends + 1)).sum() / found[-1])


def card_precision(fraud: Flags, score: Floats, day: Integers, customer: Integers, top: int = 100) -> float:
    """Return the share of compromised cards among the `top` cards of a day by score, as a mean over days.

    All arrays have shape (rows,). A compromised card that was found leaves the days after: it is blocked.
    """
    blocked = np.zeros(int(customer.max()) + 1, np.bool_)
    shares = []
    for today in np.unique(day):
        rows = (day == today) & ~blocked[customer]
        highest = np.full(len(blocked), -np.inf)
        np.maximum.at(highest, customer[rows], score[rows])
        compromised = np.zeros(len(blocked), np.bool_)
        compromised[customer[rows & fraud]] = True
        cards = np.argsort(-highest, kind="stable")[:top]
        found = cards[compromised[cards]]
        blocked[found] = True
        shares.append(len(found) / top)
    return float(np.mean(shares))
