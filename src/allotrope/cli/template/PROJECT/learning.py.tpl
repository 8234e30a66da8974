"""The one door to the machine-learning library: everything else sees plain numbers.

Today the library is `statistics` of the standard library. For scikit-learn, LightGBM or onnxruntime
change this file and `pyproject.toml`: no other file imports it.
"""

from functools import cache
from statistics import NormalDist, linear_regression, stdev
from typing import NamedTuple

USUAL = (4.0, 6.0, 7.5, 8.0, 9.0, 10.0, 12.0, 15.0, 20.0)  # kWh, on days on which nothing was wrong
SEEN = (4.4, 5.5, 7.9, 8.6, 8.4, 10.9, 11.2, 15.6, 19.1)


class Line(NamedTuple):
    """A trained model: what to expect, and how far from it is normal."""

    slope: float
    intercept: float
    spread: float


def fit(usual: tuple[float, ...], seen: tuple[float, ...]) -> Line:
    """Return the line through pairs of usual and seen; at least three are needed."""
    slope, intercept = linear_regression(usual, seen)
    apart = [y - slope * x - intercept for x, y in zip(usual, seen, strict=True)]
    return Line(slope, intercept, stdev(apart))


@cache
def trained() -> Line:
    """Return the model that serves. It never changes, so that every instance may keep it."""
    return fit(USUAL, SEEN)


def surprise(usual: float, seen: float) -> float:
    """Return how surprising a reading is, from 0 (as expected) to 1."""
    line = trained()
    expected = NormalDist(line.slope * usual + line.intercept, line.spread)
    return abs(2 * expected.cdf(seen) - 1)
