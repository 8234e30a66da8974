"""How good decisions were, once the truth is known: pure functions of columns. It decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from examples.fraud.decisions import Decision
from examples.fraud.lab import protocol
from examples.fraud.lab.dataset import Transactions
from examples.fraud.lab.stream import Schedule, ids

VERDICTS = ("approve", "review", "decline")


def quality(payments: Transactions, schedule: Schedule, decisions: Mapping[str, Decision]) -> str:
    """Return how well frauds were told apart, by the Handbook's protocol: without cards known as stolen."""
    day = (payments.time.astype("datetime64[D]") - np.datetime64(schedule.first)).astype(np.int64)
    nothing = np.empty((len(payments), 0), np.float32)
    sample = protocol.Sample(nothing, payments.fraud, day, payments.customer)
    first = (schedule.training[0] - schedule.first).days
    judged = protocol.holdout(sample, protocol.Period(first, test=len(schedule.days())))
    fraud = payments.fraud[judged]
    given = np.array([decisions[key].probability for key in ids(payments.take(judged))])
    cards = f"{len(fraud):,} payments of cards not known as stolen"
    if not 0 < fraud.sum() < len(fraud):
        return f"not known: {int(fraud.sum())} frauds among {cards}"
    auc, precision = protocol.auc(fraud, given), protocol.average_precision(fraud, given)
    return f"AUC {auc:.3f}, average precision {precision:.3f}, by the Handbook's protocol on {cards}"


def verdicts(decisions: Sequence[Decision], fraud: npt.NDArray[np.bool_]) -> dict[str, tuple[int, int]]:
    """Return (payments, frauds among them) per verdict."""
    given = np.array([decision.verdict for decision in decisions])
    return {name: (int((given == name).sum()), int(fraud[given == name].sum())) for name in VERDICTS}
