"""Holds: why deliveries that are at work do not come to their end, for those who ask what is waited for."""

import time

import msgspec

from allotrope.kernel.calls import Call


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """What keeps one delivery at work, and since when; without a title what keeps all of a store."""

    why: str
    since: int  # microseconds since 1970
    title: str = ""
    origin: int = 0
    path: str = ""
    unit: str = ""


class Holds:
    """The holds of one process. Nothing is written down while all goes well."""

    def __init__(self) -> None:
        """Know of none."""
        self.held: dict[tuple[int, str, str], Hold] = {}
        self.store: Hold | None = None

    def note(self, call: Call, why: str) -> None:
        """Take note of what keeps a delivery, from the first time on."""
        title = f"{call.component}.{call.operation}"
        place = call.origin, call.path, title
        since = self.held[place].since if place in self.held else _now()
        self.held[place] = Hold(why, since, title, call.origin, call.path)

    def end(self, call: Call) -> None:
        """Take note that a delivery goes on."""
        self.held.pop((call.origin, call.path, f"{call.component}.{call.operation}"), None)

    def refused(self, error: Exception) -> None:
        """Take note that the store refuses what it is given."""
        self.store = Hold(f"its store refuses: {error}", _now() if self.store is None else self.store.since)

    def all(self, unit: str = "") -> tuple[Hold, ...]:
        """Return all of them, as of a unit."""
        found = (*self.held.values(), *((self.store,) if self.store else ()))
        return tuple(msgspec.structs.replace(hold, unit=unit) for hold in found)


def _now() -> int:
    return time.time_ns() // 1000
