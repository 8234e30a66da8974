"""Training rows and models, through the app's own views and scorer: what is learned is what will be served.

It chooses no days and keeps no file.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import date
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from examples.fraud.features import Champion, Risk, Spending
from examples.fraud.lab.dataset import Transactions
from examples.fraud.lab.protocol import FEATURES
from examples.fraud.lab.stream import learned
from examples.fraud.learning import Recipe, fit
from examples.fraud.models import Models
from examples.fraud.scoring import Scorer

T = TypeVar("T")


def rows(payments: Transactions, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the features of the wanted payments, shape (wanted, 15), as the app would score them.

    `wanted` has shape (rows,). All payments and labels pass through the views in the order of the app.
    """
    return _driven(_rows(payments, wanted))


async def _rows(payments: Transactions, wanted: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    # The scorer itself, built by hand and without a champion: it computes the features and asks no model.
    spending, risk = Spending(), Risk()
    scorer = Scorer(spending=spending, risk=risk, champion=Champion(), models=Models())
    chosen = wanted.tolist()
    found = np.empty((len(payments), len(FEATURES)))
    for day in learned(payments, *_span(payments)):
        for place, (row, label) in enumerate(zip(day.row, day.label, strict=True)):
            if label:
                risk.add(day.labelled(place))
                continue
            payment = day.payment(place)
            if chosen[row]:
                found[row] = (await scorer.score(payment)).features
            spending.add(payment)
    return found[wanted]


def trained(payments: Transactions, first: date, last: date, recipe: Recipe | None = None) -> bytes:
    """Return a model of the days `first` to `last`, both included; the days before fill the windows.

    The labels are those of `payments`: choose days whose labels are known. Raises FitRefused when these days
    lack frauds or honest payments.
    """
    day = payments.time.astype("datetime64[D]")
    chosen = (day >= np.datetime64(first)) & (day <= np.datetime64(last))
    return fit(rows(payments, chosen).astype(np.float32), payments.fraud[chosen], recipe)


def _span(payments: Transactions) -> tuple[date, date]:
    """Return the days of the first and the last payment."""
    first, last = payments.time[[0, -1]].astype("datetime64[D]").tolist()
    return first, last


def _driven(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits: by hand, components do not. A loop may run."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("the scorer waited for something, though nothing runs beside it")
