"""The generator: equal seeds, the published shape of the data, and each of the three frauds."""

from datetime import date

import numpy as np
import numpy.typing as npt
import pytest

from examples.fraud.lab.dataset import Transactions
from examples.fraud.lab.generator import CARD_DAYS, DAY_S, LARGE, TERMINAL_DAYS, Population, simulate


@pytest.fixture(scope="module")
def small() -> Transactions:
    return simulate(Population(seed=7))


@pytest.fixture(scope="module")
def published() -> Transactions:
    """The Handbook's population for the days of the data it published: a second of work."""
    return simulate(Population(customers=5_000, terminals=10_000, days=136))


def _days(payments: Transactions) -> npt.NDArray[np.int64]:
    days = payments.time.astype("datetime64[D]")
    since_first: npt.NDArray[np.int64] = (days - days[0]).astype(np.int64)
    return since_first


def test_equal_seeds_give_equal_payments_and_others_do_not() -> None:
    first, again, other = (simulate(Population(days=9, seed=seed)) for seed in (1, 1, 2))
    for column in Transactions.__dataclass_fields__:
        assert np.array_equal(getattr(first, column), getattr(again, column)), column
    assert not np.array_equal(first.amount[:100], other.amount[:100])


def test_rows_are_sorted_by_time_then_id_and_ids_are_unique(small: Transactions) -> None:
    assert np.array_equal(np.lexsort((small.id, small.time)), np.arange(len(small)))
    assert len(np.unique(small.id)) == len(small)
    assert small.time.dtype == "datetime64[s]"
    assert small.time[0].astype("datetime64[D]") == np.datetime64("2018-04-01")
    assert _days(small).max() == Population().days - 1


def test_amounts_are_positive_whole_cents(small: Transactions) -> None:
    assert small.amount.min() >= 0
    assert np.array_equal(np.round(small.amount, 2), small.amount)


def test_rates_equal_those_of_the_published_data(published: Transactions) -> None:
    # The published file: 1,303,778 payments in 136 days, 0.818 % frauds, amounts 53.6 with deviation 42.1.
    assert len(published) / 136 == pytest.approx(9_587, rel=0.04)
    assert published.fraud.mean() == pytest.approx(0.00818, abs=0.0006)
    assert published.amount.mean() == pytest.approx(53.6, abs=1.6)
    assert published.amount.std() == pytest.approx(42.1, abs=1.5)
    shares = np.bincount(published.scenario, minlength=4) / len(published)
    assert shares[1:] == pytest.approx([0.00056, 0.0050, 0.0026], rel=0.2)


def test_a_small_population_keeps_the_rates(small: Transactions) -> None:
    assert len(small) / Population().days == pytest.approx(1_917, rel=0.08)
    assert small.fraud.mean() == pytest.approx(0.0075, abs=0.002)
    assert small.amount.mean() == pytest.approx(53.6, abs=4)


def test_hours_are_normal_around_noon(published: Transactions) -> None:
    second = published.time.astype(np.int64) % DAY_S
    assert second.mean() == pytest.approx(DAY_S / 2, abs=100)
    assert second.std() == pytest.approx(18_193, abs=150)  # 20,000 cut off at midnight


def test_every_large_amount_is_a_fraud(small: Transactions) -> None:
    assert small.fraud[small.amount > LARGE].all()
    assert (small.amount[small.scenario == 1] > LARGE).all()


def test_a_compromised_terminal_makes_all_its_payments_frauds_for_28_days(published: Transactions) -> None:
    day = _days(published)
    opened = [published.terminal[(published.scenario == 2) & (day == 0)]]
    for terminal in np.unique(opened):
        rows = (published.terminal == terminal) & (day < TERMINAL_DAYS)
        assert published.fraud[rows].all()
    assert 1 <= len(np.unique(opened)) <= 2


def test_a_stolen_card_has_a_third_of_its_payments_times_five(published: Transactions) -> None:
    day = _days(published)
    stolen = published.scenario == 3
    cards = np.unique(published.customer[stolen & (day == 0)])
    assert 1 <= len(cards) <= 3
    rows = np.isin(published.customer, cards) & (day < CARD_DAYS)
    assert 0.2 < stolen[rows].mean() < 0.45
    ratio = published.amount[rows & stolen].mean() / published.amount[rows & ~stolen].mean()
    assert 3 < ratio < 7


def test_every_customer_pays_only_at_terminals_within_reach() -> None:
    payments = simulate(Population(customers=200, terminals=400, days=60, radius=5))
    used = len(np.unique(payments.terminal * 200 + payments.customer))
    # 400 terminals on 100 x 100 put 3 within a radius of 5, and everyone would use all 400 without it.
    assert used / len(np.unique(payments.customer)) < 8


def test_customers_without_a_terminal_in_reach_make_no_payment() -> None:
    assert len(simulate(Population(customers=50, terminals=1, days=5, radius=0.01))) == 0


@pytest.mark.parametrize("wrong", [{"customers": 0}, {"terminals": -1}, {"days": 0}, {"radius": 0.0}])
def test_an_impossible_population_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Population(**wrong)  # type: ignore[arg-type]  # the wrong value is the point


def test_a_population_may_start_on_any_day() -> None:
    payments = simulate(Population(days=2, start=date(2024, 2, 29)))
    assert str(payments.time[-1].astype("datetime64[D]")) == "2024-03-01"
