"""Token buckets: never more than the burst and the rate allow, and never less."""

from hypothesis import given
from hypothesis import strategies as st

from allotrope.gateway.access.buckets import MOST, Bucket, Buckets, drawn
from allotrope.planning.topology import Quota

GAPS = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 4)), max_size=60)


@given(GAPS, st.floats(0.1, 50), st.integers(1, 20))
def test_it_lets_through_what_a_bucket_holds(asked: list[tuple[float, int]], rate: float, burst: int) -> None:
    bucket, level, now = Bucket(rate, burst), float(burst), 1000.0
    for gap, cost in asked:
        now += gap
        level = min(float(burst), level + gap * rate)
        spent = min(cost, burst)
        wait = drawn((bucket,), cost, now)
        if not wait:
            assert level >= spent - 1e-6
            level -= spent
        else:
            assert level <= spent + 1e-6
            assert abs(wait - (spent - level) / rate) < 1e-6


@given(GAPS)
def test_a_refusal_takes_from_no_bucket(asked: list[tuple[float, int]]) -> None:
    wide, narrow, alone, now = Bucket(1e6, 10), Bucket(0.5, 2), Bucket(0.5, 2), 1.0
    for gap, cost in asked:
        now += gap
        assert drawn((wide, narrow), cost, now) == drawn((alone,), cost, now)


def test_tenants_have_their_own_and_share_it_among_their_keys() -> None:
    buckets = Buckets(Quota(), {"*": Quota(rate=1, burst=2), "big": Quota(rate=1, burst=5)})
    one, other = buckets.of("a", "small", 0.0), buckets.of("b", "small", 0.0)
    assert [drawn(found, 1, 0.0) == 0.0 for found in (one, other, one)] == [True, True, False]
    assert sum(drawn(buckets.of("c", "big", 0.0), 1, 0.0) == 0.0 for _ in range(9)) == 5
    assert Buckets(Quota(), {}).of("a", "b", 0.0) == ()


def test_those_that_are_full_again_are_forgotten() -> None:
    buckets = Buckets(Quota(rate=1, burst=1), {})
    for number in range(MOST + 10):
        drawn(buckets.of(str(number), "", 0.0), 1, 0.0)
    buckets.of("late", "", 100.0)
    assert len(buckets._made) < 10
