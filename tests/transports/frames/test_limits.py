"""Limits: under some of them nothing can work."""

import pytest

from allotrope import Refused
from allotrope.transports.frames.limits import Limits


@pytest.mark.parametrize("bad", [{"frame_bytes": 100}, {"buffers": 255}])
def test_limits_under_which_nothing_works_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(Refused, match="at least 512 bytes"):
        Limits(**bad)
