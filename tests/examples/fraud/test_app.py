"""The components of the app, each built by hand: no runtime, no store, nothing to set up. And the rules."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from allotrope import Clock, Refused, Table, Tick
from examples.fraud.deciding import Decider
from examples.fraud.decisions import Decision, Decisions, Totals
from examples.fraud.desk import Case, Desk, NotOpen
from examples.fraud.events import (
    Booked,
    Decided,
    Labelled,
    Payment,
    Promoted,
    Rejected,
    Reviewed,
    Scored,
    Submitted,
    Verdict,
)
from examples.fraud.features import Champion, Risk, Spending
from examples.fraud.intake import Intake
from examples.fraud.lab.protocol import FEATURES
from examples.fraud.learning import Recipe, fit
from examples.fraud.models import MODEL, Models, keep
from examples.fraud.rules import features, malformed, verdict
from examples.fraud.scoring import Scorer

NOON = datetime(2018, 8, 8, 12, tzinfo=UTC)  # a Wednesday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Standing(Clock):
    """A clock that shows what it is told to."""

    def __init__(self, now: datetime = NOON) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time


def _submitted(payment: str = "p1", amount: float = 10.0, at: datetime = NOON) -> Submitted:
    return Submitted(payment, "c1", "t1", amount, at)


def _payment(amount: float, at: datetime) -> Payment:
    return Payment("p", "c1", "t1", amount, at)


def _decided(payment: str = "p1", verdict: Verdict = "review", probability: float = 0.4) -> Decided:
    return Decided(payment, verdict, probability, "forest-1")


# -- rules


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Submitted("", "c", "t", 1.0, NOON), "must not be empty"),
        (Submitted("p", "", "t", 1.0, NOON), "must not be empty"),
        (Submitted("p", "c", "", 1.0, NOON), "must not be empty"),
        (_submitted(amount=-0.01), "-0.01 is negative"),
        (_submitted(amount=100.01), "100.01 is above the limit of 100.00"),
        (_submitted(at=NOON + HOUR), "13:00:00+00:00 lies in the future"),
        (_submitted(at=datetime(2018, 8, 8, 13)), "lies in the future"),
    ],
)
def test_malformed_payments_are_told_why(wrong: Submitted, why: str) -> None:
    assert why in malformed(wrong, 100.0, NOON)


@pytest.mark.parametrize("amount", [0.0, 100.0])
def test_amounts_on_the_limits_are_well_formed(amount: float) -> None:
    assert malformed(_submitted(amount=amount), 100.0, NOON) == ""


def test_a_terminal_may_be_a_little_fast_and_any_time_late() -> None:
    for at in (NOON + timedelta(minutes=5), NOON - 400 * DAY):
        assert malformed(_submitted(at=at), 100.0, NOON) == ""


def test_an_amount_that_is_no_number_never_enters() -> None:
    with pytest.raises(Refused, match=r"Submitted.amount"):
        _submitted(amount=float("nan"))


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0.0, "approve"), (0.2499, "approve"), (0.25, "review"), (0.5999, "review"), (0.6, "decline")],
)
def test_each_threshold_belongs_to_what_lies_above(probability: float, expected: str) -> None:
    assert verdict(probability, 0.25, 0.6) == expected


async def test_features_count_the_payment_itself_and_labels_of_a_week_ago() -> None:
    spending, risk = Spending(), Risk()
    spending.add(_payment(30.0, NOON - 2 * HOUR))
    spending.add(Booked("old", "c1", "t1", 60.0, NOON - 3 * DAY))
    spending.add(_payment(99.0, NOON - 40 * DAY))
    risk.add(Labelled("a", "t1", 1, NOON - 7 * DAY))
    risk.add(Labelled("b", "t1", 0, NOON - 9 * DAY))
    risk.add(Labelled("c", "t1", 1, NOON - 6 * DAY))  # labelled early: no feature may know it yet
    found = features(_payment(15.0, NOON), await spending.of("c1", NOON), await risk.of("t1", NOON))
    named = dict(zip(FEATURES, found, strict=True))
    assert [named["amount"], named["during_weekend"], named["during_night"]] == [15.0, 0.0, 0.0]
    assert [named[f"customer_count_{days}d"] for days in (1, 7, 30)] == [2.0, 3.0, 3.0]
    assert [named[f"customer_mean_{days}d"] for days in (1, 7, 30)] == [22.5, 35.0, 35.0]
    assert [named[f"terminal_count_{days}d"] for days in (1, 7, 30)] == [1.0, 2.0, 2.0]
    assert [named[f"terminal_risk_{days}d"] for days in (1, 7, 30)] == [1.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("at", "weekend", "night"),
    [
        (datetime(2018, 8, 10, 23, 59, tzinfo=UTC), 0.0, 0.0),
        (datetime(2018, 8, 11, 0, 0, tzinfo=UTC), 1.0, 1.0),
        (datetime(2018, 8, 12, 6, 59, tzinfo=UTC), 1.0, 1.0),
        (datetime(2018, 8, 13, 7, 0, tzinfo=UTC), 0.0, 0.0),
    ],
)
async def test_weekend_and_night(at: datetime, weekend: float, night: float) -> None:
    found = features(_payment(1.0, at), await Spending().of("c1", at), await Risk().of("t1", at))
    assert found[1:3] == (weekend, night)


# -- from the door to the verdict


async def test_a_payment_gets_in_once() -> None:
    intake = Intake(seen=Table(), clock=Standing())
    assert await intake.accept(_submitted()) == Payment("p1", "c1", "t1", 10.0, NOON)
    assert await intake.accept(_submitted(amount=20.0)) == Rejected(
        "p1", "a payment of this id was submitted before"
    )


async def test_a_malformed_payment_may_be_sent_again_in_good_form() -> None:
    intake = Intake(seen=Table(), clock=Standing())
    assert isinstance(await intake.accept(_submitted(amount=-1.0)), Rejected)
    assert isinstance(await intake.accept(_submitted(amount=1.0)), Payment)


def _model(seed: int) -> bytes:
    draw = np.random.default_rng(seed)
    rows = draw.normal(50, 40, (300, 15)).astype(np.float32)
    return fit(rows, rows[:, 0] > 80, Recipe(trees=5, depth=3, seed=seed, threads=1))


async def test_a_score_names_its_model_and_its_features(tmp_path: Path) -> None:
    champion, version, digest = Champion(), *keep(_model(0), tmp_path)
    scorer = Scorer(spending=Spending(), risk=Risk(), champion=champion, models=Models(folder=str(tmp_path)))
    before = await scorer.score(_payment(200.0, NOON))
    assert (before.version, before.probability) == ("none", 0.0)
    champion.add(Promoted(MODEL, version, digest))
    after = await scorer.score(_payment(200.0, NOON))
    assert (after.version, after.features) == (version, before.features)
    assert after.features[0] == 200.0
    assert after.probability > 0.5 > (await scorer.score(_payment(5.0, NOON))).probability


async def test_the_model_promoted_last_decides(tmp_path: Path) -> None:
    champion = Champion()
    for seed in (0, 1):
        champion.add(Promoted(MODEL, *keep(_model(seed), tmp_path)))
    reading = await champion.of(MODEL)
    assert (reading.version, reading.digest) == keep(_model(1), tmp_path)


async def test_a_model_that_is_missing_or_changed_is_refused(tmp_path: Path) -> None:
    models, (version, digest) = Models(folder=str(tmp_path)), keep(_model(0), tmp_path)
    row = (1.0,) * 15
    assert 0.0 <= await models.probability(version, digest, row) <= 1.0
    with pytest.raises(Refused, match="is not there"):
        await models.probability("forest-none", "none", row)
    (tmp_path / f"{version}.onnx").write_bytes(b"something else")
    assert 0.0 <= await models.probability(version, digest, row) <= 1.0  # it is loaded, and does not change
    with pytest.raises(Refused, match="not those that were promoted"):
        await Models(folder=str(tmp_path)).probability(version, digest, row)
    assert os.listdir(tmp_path) == [f"{version}.onnx"]


async def test_a_verdict_carries_the_score() -> None:
    scored = Scored("p1", "c1", 0.3, "forest-1", (1.0,))
    assert await Decider().decide(scored) == _decided(probability=0.3)
    assert (await Decider(review_from=0.1, decline_from=0.2).decide(scored)).verdict == "decline"


# -- people, and the read side


async def test_only_uncertain_payments_come_on_the_desk_the_least_certain_first() -> None:
    desk = Desk(cases=Table(), clock=Standing())
    chances: tuple[tuple[str, Verdict, float], ...] = (
        ("a", "review", 0.30), ("b", "approve", 0.10), ("c", "review", 0.52), ("d", "decline", 0.90)
    )  # fmt: skip
    for payment, given, probability in chances:
        await desk.take(_decided(payment, given, probability))
    assert await desk.waiting() == (Case("c", 0.52, NOON), Case("a", 0.30, NOON))
    assert [case.id for case in await desk.waiting(1)] == ["c"]


async def test_a_case_is_settled_once() -> None:
    desk = Desk(cases=Table(), clock=Standing())
    await desk.take(_decided())
    assert await desk.settle("p1", "approve", "ann") == Reviewed("p1", "approve", "ann")
    with pytest.raises(NotOpen) as refused:
        await desk.settle("p1", "decline", "bob")
    assert refused.value.payment_id == "p1"


async def test_a_case_that_nobody_looks_at_is_declined_after_a_day() -> None:
    clock = Standing()
    desk = Desk(cases=Table(), clock=clock)
    await desk.take(_decided("early"))
    clock.time += HOUR
    await desk.take(_decided("late"))
    clock.time = NOON + DAY
    assert await desk.sweep(Tick("Desk.sweep", 0)) == (Reviewed("early", "decline", ""),)
    assert [case.id for case in await desk.waiting()] == ["late"]
    assert await desk.sweep(Tick("Desk.sweep", 0)) == ()


def _decisions() -> Decisions:
    return Decisions(rows=Table(), totals=Totals())


async def test_a_decision_gathers_what_becomes_of_a_payment() -> None:
    decisions = _decisions()
    assert await decisions.of("p1") is None
    await decisions.decided(_decided())
    assert await decisions.of("p1") == Decision("p1", "review", 0.4, "forest-1")
    await decisions.reviewed(Reviewed("p1", "approve", "ann"))
    await decisions.labelled(Labelled("p1", "t1", 1, NOON))
    assert await decisions.of("p1") == Decision("p1", "approve", 0.4, "forest-1", "ann", True)


async def test_what_is_rejected_at_the_door_is_declined_but_never_replaces_a_decision() -> None:
    decisions = _decisions()
    await decisions.rejected(Rejected("bad", "negative"))
    assert await decisions.of("bad") == Decision("bad", "decline", 1.0, "intake")
    await decisions.decided(_decided())
    await decisions.rejected(Rejected("p1", "submitted before"))
    assert await decisions.of("p1") == Decision("p1", "review", 0.4, "forest-1")


async def test_news_of_unknown_payments_leaves_nothing() -> None:
    decisions = _decisions()
    await decisions.labelled(Labelled("p1", "t1", 1, NOON))
    await decisions.reviewed(Reviewed("p1", "approve", "ann"))
    assert await decisions.of("p1") is None


async def test_totals_count_verdicts_of_the_model() -> None:
    totals = Totals()
    for given in ("review", "decline", "review"):
        totals.add(_decided(verdict=given))
    decisions = Decisions(rows=Table(), totals=totals)
    assert [await decisions.total(given) for given in ("approve", "review", "decline")] == [0, 2, 1]
