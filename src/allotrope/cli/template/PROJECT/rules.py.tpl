"""The rules, as pure functions of plain values: no clock, no chance, nothing kept."""

from collections.abc import Iterable

from PROJECT.data import Case, Usage

ENOUGH = 5  # readings before a meter's habits are known


def usual_kwh(usage: Usage) -> float | None:
    """Return what a meter uses on a day, or None while too little is known of it."""
    return usage.mean_kwh if usage.readings >= ENOUGH else None


def most_urgent(cases: Iterable[Case], most: int) -> tuple[Case, ...]:
    """Return the cases that are furthest from what was usual; equal ones in the order of their ids."""
    return tuple(sorted(cases, key=lambda case: (-abs(case.kwh - case.usual), case.id))[:most])
