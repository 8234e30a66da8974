"""Figures: quantiles within their width, and sums that do not depend on how they were split."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allotrope.sidecars.figures import KEPT, Figures, Minute, figures_in, summed

CALLS = st.lists(
    st.tuples(st.integers(0, 10**9), st.sampled_from(["ok", "Failed", "cut"]), st.floats(-1e6, 1e6))
)


def minute(calls: list[tuple[int, str, float]]) -> Minute:
    made = Minute()
    for took, status, value in calls:
        made.add(took, status)
        made.follow({"order": {"amount": value, "name": "x", "open": True}})
    return made


@given(CALLS, CALLS)
def test_two_halves_are_the_whole(
    left: list[tuple[int, str, float]], right: list[tuple[int, str, float]]
) -> None:
    whole, sum_of_both = minute([*left, *right]), minute(left)
    sum_of_both.merge(minute(right))
    assert (whole.count, whole.errors, whole.times) == (
        sum_of_both.count,
        sum_of_both.errors,
        sum_of_both.times,
    )
    assert whole.fields.keys() == sum_of_both.fields.keys() <= {"order.amount"}
    for name, spread in whole.fields.items():
        other = sum_of_both.fields[name]
        assert (spread.count, spread.least, spread.most) == (other.count, other.least, other.most)
        assert spread.total == pytest.approx(other.total, abs=1e-3)


@given(st.lists(st.integers(1, 10**9), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_right_to_a_hundredth(times: list[int], share: float) -> None:
    made = Minute()
    for took in times:
        made.add(took, "ok")
    exact = sorted(times)[max(-(-int(share * len(times) * 10**9) // 10**9) - 1, 0)]
    near = {exact, sorted(times)[min(int(share * len(times)), len(times) - 1)]}
    assert any(made.quantile(share) == pytest.approx(value, rel=0.011) for value in near)


def test_old_minutes_make_room_and_units_stay_apart(tmp_path: Path) -> None:
    for unit in ("a", "b"):
        figures = Figures(unit, f"{unit}-1.1")
        for number in range(KEPT + 10):
            figures.at(number, "Desk.open").add(5, "ok")
        assert len(figures.minutes) == KEPT
        (tmp_path / "requests" / unit).mkdir(parents=True)
        (tmp_path / "requests" / unit / f"{unit}-1.1.json").write_bytes(msgspec.json.encode(figures))
    (tmp_path / "requests" / "b" / "torn.json").write_bytes(b'{"unit":')
    found = summed(figures_in(tmp_path), KEPT)
    assert {key: calls.count for key, calls in found.items()} == {
        ("a", "Desk.open", 1): 10,
        ("b", "Desk.open", 1): 10,
    }
