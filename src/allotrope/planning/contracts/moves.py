"""What changes for an app between two topologies, and whether its data can follow.

Not here: moving it while it serves.
"""

from collections.abc import Iterator
from typing import Any

from allotrope.planning.contracts.changes import Change
from allotrope.planning.plans import Plan

_LEVELS = ("none", "process", "power")
_LATER = "it counts from the next start of the app on"
_SIZES = ("replicas", "cpu", "memory_mb", "gpu", "sidecars", "foreign", "python", "app")  # of a unit


def moved(old: Plan, new: Plan) -> tuple[Change, ...]:
    """Return what differs between the topologies of two plans of one app, in the order of places."""
    return tuple(sorted([*_kept(old, new), *_placed(old, new), *_sized(old, new), *_tuned(old, new)]))


def _kept(old: Plan, new: Plan) -> Iterator[Change]:
    before, after = old.topology, new.topology
    what = f"`{before.durability}` became `{after.durability}`"
    if before.durability != "none" and after.durability == "none":
        remedy = "keep a level that outlives the process, or export what is kept first"
        yield Change("durability", what, "refused", "all that is kept would be left behind", remedy)
    elif before.durability != after.durability:
        weaker = _LEVELS.index(after.durability) < _LEVELS.index(before.durability)
        yield Change(
            "durability", what, "any order", "it promises less than before" if weaker else "it is stronger"
        )
    if before.durability != "none" and before.partitions != after.partitions:
        what, why = (
            f"{before.partitions} became {after.partitions}",
            "keys would change place and lose their order",
        )
        yield Change(
            "partitions", what, "refused", why, f"stay at {before.partitions}, or start a new folder"
        )


def _placed(old: Plan, new: Plan) -> Iterator[Change]:
    homes = [{name: unit for unit, names in plan.units.items() for name in names} for plan in (old, new)]
    for name in sorted(homes[0].keys() & homes[1].keys()):
        one, other = homes[0][name], homes[1][name]
        if one != other:
            why = "what is in flight ends where it began"
            yield Change(name, f"moves from unit `{one}` to unit `{other}`", "any order", why)
    for edge in sorted(old.topology.edge.keys() | new.topology.edge.keys()):
        one, other = (
            (plan.topology.edge.get(edge) or plan.topology.edge_of("", "")).via for plan in (old, new)
        )
        if one != other:
            yield Change(
                f"edge {edge}", f"`{one}` became `{other}`", "any order", "the same calls, another way"
            )


def _sized(old: Plan, new: Plan) -> Iterator[Change]:
    units = old.topology.unit, new.topology.unit
    for name in sorted(units[0].keys() & units[1].keys()):
        one, other = units[0][name], units[1][name]
        for field in _SIZES:
            before, after = getattr(one, field), getattr(other, field)
            if before != after:
                what = f"{field} {_spelled(before)} became {_spelled(after)}"
                yield Change(f"unit {name}", what, "any order", _LATER)
        if one.environment != other.environment:  # values may be secret
            yield Change(f"unit {name}", "environment is another", "any order", _LATER)


def _spelled(value: Any) -> str:
    if isinstance(value, tuple):
        return " to ".join(map(str, value)) if value and isinstance(value[0], int) else str(list(value))
    return repr(value) if isinstance(value, str) else f"{value:g}"


def _tuned(old: Plan, new: Plan) -> Iterator[Change]:
    if old.topology.reply != new.topology.reply:
        what = f"after the {old.topology.reply} became after the {new.topology.reply}"
        yield Change("reply", what, "any order", "callers wait for more, or for less")
    settings = old.topology.setting, new.topology.setting
    for name in sorted(settings[0].keys() | settings[1].keys()):
        if settings[0].get(name) != settings[1].get(name):
            yield Change(f"setting {name}", "is another", "any order", "answers may be others from then on")
