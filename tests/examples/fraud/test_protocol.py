"""The Handbook's protocol: its split and metrics by hand. Its published result is in `test_views`."""

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from examples.fraud.lab.dataset import Transactions
from examples.fraud.lab.generator import Population, simulate
from examples.fraud.lab.protocol import (
    FEATURES,
    Outcome,
    Period,
    Sample,
    Score,
    auc,
    average_precision,
    card_precision,
    holdout,
    judged,
    training,
)
from examples.fraud.learning import Forest, Recipe, fit
from tests.examples.fraud import oracle


def _sample(rows: list[tuple[int, int, int]]) -> Sample:
    """Return a sample from (day, customer, fraud) per row; its features are zero."""
    day, customer, fraud = np.array(rows, np.int64).T
    return Sample(np.zeros((len(rows), 15), np.float32), fraud.astype(np.bool_), day, customer)


def _from(payments: Transactions) -> Sample:
    day = (payments.time.astype("datetime64[D]") - payments.time[0].astype("datetime64[D]")).astype(np.int64)
    return Sample(oracle.features(payments).astype(np.float32), payments.fraud, day, payments.customer)


def _outcome(sample: Sample, period: Period, recipe: Recipe) -> Outcome:
    def train(features: npt.NDArray[np.float32], fraud: npt.NDArray[np.bool_]) -> Score:
        return Forest(fit(features, fraud, recipe)).probability

    return judged(sample, period, train)


def test_there_are_fifteen_features() -> None:
    assert len(set(FEATURES)) == 15


def test_days_train_wait_and_judge() -> None:
    sample = _sample([(day, day, 0) for day in range(30)])
    period = Period(first=4, train=3, delay=2, test=5)
    assert sample.day[training(sample, period)].tolist() == [4, 5, 6]
    assert sample.day[holdout(sample, period)].tolist() == [9, 10, 11, 12, 13]


def test_a_card_leaves_once_its_fraud_is_known() -> None:
    period = Period(first=0, train=7, delay=7, test=7)
    every = [(day, customer, 0) for day in range(14, 21) for customer in range(5)]
    frauds = [(3, 0, 1), (7, 1, 1), (9, 2, 1), (15, 3, 1)]  # customer 4: never
    sample = _sample(every + frauds)
    chosen = holdout(sample, period) & ~sample.fraud
    days = {customer: sample.day[chosen & (sample.customer == customer)].tolist() for customer in range(5)}
    assert days[0] == []  # found in training
    assert days[1] == [14]  # the label of day 7 is known on day 15
    assert days[2] == [14, 15, 16]
    assert days[3] == days[4] == list(range(14, 21))  # the label of day 15 comes after the test


def test_metrics_equal_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    for places in (1, 2, 9):  # rounding makes ties
        fraud = draw.random(3_000) < 0.05
        score = np.round(draw.normal(0, 1, 3_000) + fraud, places)
        assert auc(fraud, score) == pytest.approx(roc_auc_score(fraud, score), abs=1e-12)
        expected = average_precision_score(fraud, score)
        assert average_precision(fraud, score) == pytest.approx(expected, abs=1e-12)


def test_card_precision_counts_cards_not_payments() -> None:
    fraud = np.array([1, 1, 0, 0, 1, 0], np.bool_)
    score = np.array([0.9, 0.8, 0.7, 0.1, 0.9, 0.2])
    customer = np.array([0, 0, 1, 2, 0, 3])
    day = np.array([0, 0, 0, 0, 1, 1])
    # Day 0: cards 0 and 1 lead, one is compromised. Day 1: card 0 is blocked, only the honest card 3 is left.
    assert card_precision(fraud, score, day, customer, top=2) == pytest.approx((1 / 2 + 0) / 2)


def test_days_without_a_fraud_are_refused() -> None:
    sample = _sample([(day, day, int(day == 1)) for day in range(30)])
    with pytest.raises(ValueError, match="0 frauds among 7 payments on the test days"):
        _outcome(sample, Period(first=0), Recipe())


def test_a_model_of_simulated_payments_finds_frauds_and_knows_no_label_early() -> None:
    population = Population()
    outcome = _outcome(_from(simulate(population)), Period(first=population.days - 21), Recipe(trees=50))
    assert 0.75 < outcome.auc < 0.95, outcome
    assert outcome.average_precision > 0.4, outcome
