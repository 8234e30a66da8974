"""Callers: who asks, for which tenant, and what it may ask for. How one proves it is in `keys` and `tokens`."""

from fnmatch import fnmatchcase

from allotrope.gateway.access.buckets import Bucket


class Caller:
    """Somebody who has proved who it is; it lives as long as its key or token is known."""

    __slots__ = ("_known", "buckets", "name", "scopes", "tenant")

    def __init__(self, name: str, tenant: str, scopes: tuple[str, ...]) -> None:
        """Allow what the patterns in `scopes` match: `Desk.settle`, `Desk.*`, `events.*`, `metrics`, `*`."""
        self.name, self.tenant, self.scopes = name, tenant, scopes
        self.buckets: tuple[Bucket, ...] | None = None  # the limits it is under, once it has asked
        self._known: dict[str, bool] = {}

    def may(self, title: str) -> bool:
        """Return whether it may ask for one of the app's operations."""
        known = self._known.get(title)
        if known is None:
            known = self._known[title] = any(fnmatchcase(title, scope) for scope in self.scopes)
        return known


def anybody() -> Caller:
    """Return the caller of a door without keys, which opens to this machine only."""
    return Caller("", "", ("*",))
