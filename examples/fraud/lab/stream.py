"""The order in which the bank learns of things: payments as they are made, labels a week after. It sends nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from examples.fraud.lab.dataset import Transactions
from examples.fraud.events import Labelled, Payment, Submitted
from examples.fraud.lab.generator import DAY_S, LABEL_DELAY_DAYS

DELAY_S = LABEL_DELAY_DAYS * DAY_S


class Book:
    """Payments as plain values, so that an event is made of a row without touching numpy."""

    def __init__(self, payments: Transactions) -> None:
        """Read the columns once."""
        self.id = [f"p{number}" for number in payments.id.tolist()]
        self.customer = [f"c{number}" for number in payments.customer.tolist()]
        self.terminal = [f"t{number}" for number in payments.terminal.tolist()]
        self.amount: list[float] = payments.amount.tolist()
        self.fraud: list[int] = payments.fraud.astype(np.int8).tolist()
        self.second: list[int] = payments.time.astype("datetime64[s]").astype(np.int64).tolist()
        self.at = [datetime.fromtimestamp(second, UTC) for second in self.second]

    def __len__(self) -> int:
        return len(self.id)

    def submitted(self, row: int) -> Submitted:
        """Return a payment as its terminal sends it."""
        return Submitted(self.id[row], self.customer[row], self.terminal[row], self.amount[row], self.at[row])

    def payment(self, row: int) -> Payment:
        """Return a payment as intake lets it through."""
        return Payment(self.id[row], self.customer[row], self.terminal[row], self.amount[row], self.at[row])

    def labelled(self, row: int) -> Labelled:
        """Return the truth about a payment."""
        return Labelled(self.id[row], self.terminal[row], self.fraud[row], self.at[row])


def order(payments: Transactions) -> Iterator[tuple[int, bool]]:
    """Yield (row, whether it is the label) for all that is known by the last payment, as the bank learns of it.

    A label is known exactly seven days after its payment, and before the payments of that very second.
    """
    second = payments.time.astype("datetime64[s]").astype(np.int64)
    known = np.searchsorted(second, second[-1:] - DELAY_S, side="right")[0] if len(second) else 0
    moment = np.concatenate([second[:known] + DELAY_S, second])
    rows = np.concatenate([np.arange(known), np.arange(len(second))])
    # Stable, and labels stand first: so they stay before the payments of their second, each kind in its order.
    sequence = np.argsort(moment, kind="stable")
    yield from zip(rows[sequence].tolist(), (sequence < known).tolist(), strict=True)
