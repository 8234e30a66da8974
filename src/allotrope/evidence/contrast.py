"""How two values differ, in a few words, and what kind of difference it is. What to do about it: `hints`."""

import math
from typing import Any, Literal

import msgspec

from allotrope.kernel import codec

Symptom = Literal[
    "value",
    "order",
    "rounding",
    "error",
    "events",
    "read",
    "twice",
    "law",
    "clock",
    "chance",
    "machine",
    "load",
]


class Contrast(msgspec.Struct, frozen=True):
    """Two values side by side: the words, and the kind of difference."""

    words: str
    symptom: Symptom = "value"


def contrast(expected: Any, found: Any, place: str = "") -> Contrast:
    """Return where two decoded values part: at the first field or item that is not the same."""
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        for name, value in expected.items():
            if same(value, found[name]) is False:
                return contrast(value, found[name], f"{place}.{name}" if place else str(name))
    if isinstance(expected, list) and isinstance(found, list):
        return _lists(expected, found, place)
    words = f"{place + ' ' if place else ''}{shown(found)}, not {shown(expected)}"
    if (
        isinstance(expected, float)
        and isinstance(found, float)
        and math.isclose(expected, found, rel_tol=1e-9)
    ):
        return Contrast(words, "rounding")
    if isinstance(expected, str) and isinstance(found, str) and sorted(expected) == sorted(found):
        return Contrast(words, "order")
    return Contrast(words)


def _lists(expected: list[Any], found: list[Any], place: str) -> Contrast:
    whole = f"{place + ' ' if place else ''}{shown(found)}, not {shown(expected)}"
    if sorted(map(repr, expected)) == sorted(map(repr, found)):
        return Contrast(whole, "order")
    if len(expected) != len(found):
        return Contrast(whole)
    index = next(
        i for i, (one, other) in enumerate(zip(expected, found, strict=True)) if not same(one, other)
    )
    inner = contrast(expected[index], found[index], f"{place}[{index}]")
    return Contrast(whole, inner.symptom) if len(whole) < 70 else inner


def same(one: Any, other: Any) -> bool:
    """Return whether two decoded values would be the same bytes."""
    return codec.encode(one) == codec.encode(other)


def decoded(data: bytes | None) -> Any:
    """Return what bytes of the codec hold, messages as dicts and tuples as lists; None for nothing."""
    return codec.decode(data) if data else None


def shown(value: Any) -> str:
    """Return a decoded value in at most 60 characters."""
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def brief(data: bytes | None) -> str:
    """Return an encoded event's fields in few characters, enough to find it in the sample."""
    value = decoded(data)
    if isinstance(value, dict):
        value = next(iter(value.values()), None)  # the first field is nearly always the id
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return "" if value is None else shown(value)
