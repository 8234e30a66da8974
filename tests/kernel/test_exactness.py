"""Exact types at construction: what is not exactly of its type is made so as the codec would, or refused."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Literal

import msgspec
import pytest

from allotrope import Message, Refused

PARIS = timezone(timedelta(hours=2))


class Choice(Message):
    side: Literal["left", "right", 1]


class Moments(Message):
    at: datetime
    others: tuple[datetime, ...] = ()


class Limited(Message):
    count: Annotated[int, msgspec.Meta(ge=0)]


@pytest.mark.parametrize("side", ["left", "right", 1])
def test_a_literal_takes_its_options(side: Literal["left", "right", 1]) -> None:
    assert Choice(side).side == side


@pytest.mark.parametrize("side", ["up", True, 1.0, None])
def test_a_literal_takes_nothing_else(side: object) -> None:
    with pytest.raises(Refused, match=r"Choice\.side"):
        Choice(side)  # type: ignore[arg-type]  # the wrong value is the point


def test_a_time_of_another_zone_becomes_utc() -> None:
    """A codec keeps the moment and not the zone: its hour must not depend on whether there was a codec."""
    late = datetime(2018, 8, 12, 1, 30, tzinfo=PARIS)
    found = Moments(late, (late,))
    assert (found.at.tzinfo, found.at.hour, found.at.weekday()) == (UTC, 23, 5)
    assert found.others[0].tzinfo is UTC


def test_a_time_in_utc_or_without_zone_stays_as_it_is() -> None:
    for at in (datetime(2018, 8, 12, tzinfo=UTC), datetime(2018, 8, 12)):
        assert Moments(at).at is at


def test_limits_are_held() -> None:
    assert Limited(0).count == 0
    with pytest.raises(Refused, match=r"Limited\.count: Expected `int` >= 0"):
        Limited(-1)
