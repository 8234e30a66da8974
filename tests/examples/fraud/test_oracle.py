"""The oracle against the definition in words, on few payments: each window by plain comparison."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from examples.fraud.lab.dataset import Transactions
from examples.fraud.lab.generator import Population, simulate
from tests.examples.fraud.oracle import DAY_S, DELAY, WINDOWS, features


def _defined(payments: Transactions, row: int) -> list[float]:
    """Return the twelve window features of one row, by the definition."""
    second = payments.time.astype(np.int64)
    age = second[row] - second[: row + 1]  # rows are sorted: what follows is later
    own = payments.customer[: row + 1] == payments.customer[row]
    there = payments.terminal == payments.terminal[row]
    lag = second[row] - DELAY * DAY_S - second
    spent = [payments.amount[: row + 1][own & (age < days * DAY_S)] for days in WINDOWS]
    seen = [payments.fraud[there & (lag >= 0) & (lag < days * DAY_S)] for days in WINDOWS]
    risks = [part.mean() if len(part) else 0 for part in seen]
    return [*map(len, spent), *(part.mean() for part in spent), *map(len, seen), *risks]


def _assert_agree(payments: Transactions, found: npt.NDArray[np.float64], rows: range) -> None:
    for row in rows:
        np.testing.assert_allclose(found[row, 3:], _defined(payments, row), rtol=1e-12, err_msg=f"row {row}")


def test_windows_agree_with_their_definition() -> None:
    payments = simulate(Population(customers=60, terminals=20, days=50, radius=40))
    found = features(payments)
    assert (found[:, 12:] > 0).any()
    _assert_agree(payments, found, range(0, len(payments), 7))


def test_windows_are_open_at_the_start_and_closed_at_the_end() -> None:
    # Steps of half a day put many payments exactly on a bound; three share each second, so ids break ties.
    rows = 240
    steps = np.arange(rows) // 3 * (DAY_S // 2)
    payments = Transactions(
        id=np.arange(rows),
        time=np.datetime64("2018-04-01", "s") + steps.astype("timedelta64[s]"),
        customer=np.arange(rows) % 2,
        terminal=np.arange(rows) % 3,
        amount=np.arange(rows) / 100,
        fraud=np.arange(rows) % 5 == 0,
        scenario=np.zeros(rows, np.int8),
    )
    found = features(payments)
    _assert_agree(payments, found, range(rows))
    assert found[6:8, 3].tolist() == [2.0, 3.0]  # a day after the first: those of exactly one day ago are out
    assert found[42, 9] == 1.0  # seven days after the first: its label is known at this very second


def test_calendar_features() -> None:
    times = ["2018-04-01T06:59:59", "2018-04-02T00:00:00", "2018-04-06T07:00:00", "2018-04-07T23:59:59"]
    payments = simulate(Population(customers=50, terminals=100, days=3)).take(slice(0, 4))
    found = features(replace(payments, time=np.array(times, "datetime64[s]")))
    assert found[:, 0].tolist() == payments.amount.tolist()
    assert found[:, 1].tolist() == [1, 0, 0, 1]  # Sunday, Monday, Friday, Saturday
    assert found[:, 2].tolist() == [1, 1, 0, 0]
