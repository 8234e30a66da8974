"""What the benchmarks of calls ask and answer: 12 floats and an id, a float and a text."""

from __future__ import annotations

from allotrope import Message


class Features(Message):
    """What a model is asked about."""

    id: str
    f0: float
    f1: float
    f2: float
    f3: float
    f4: float
    f5: float
    f6: float
    f7: float
    f8: float
    f9: float
    f10: float
    f11: float


class Score(Message):
    """What it answers."""

    probability: float
    version: str


ASKED = Features("p1", *(float(number) for number in range(12)))
