"""Token buckets: how much a caller and its tenant may ask. Fairness between tenants under load is in `turnstile`."""

from collections.abc import Mapping

from allotrope.planning.topology import Quota

MOST = 10_000  # buckets that are remembered; a bucket that is full again is as good as a new one


class Bucket:
    """Lets `rate` a second through, and `burst` at once.

    One number holds it: when it will be full again. Source: the generic cell rate algorithm, ITU-T I.371.
    """

    __slots__ = ("_burst_s", "_full_at", "_gap")

    def __init__(self, rate: float, burst: int) -> None:
        """Begin full."""
        self._gap, self._burst_s, self._full_at = 1.0 / rate, burst / rate, 0.0

    def wait(self, cost: int, now: float) -> float:
        """Return in how many seconds `cost` could be taken; 0.0 is at once. More than a burst is asked as a burst."""
        spent = min(cost * self._gap, self._burst_s)
        full_at = self._full_at if self._full_at > now else now
        over = full_at + spent - now - self._burst_s
        return over if over > 1e-9 else 0.0

    def take(self, cost: int, now: float) -> None:
        """Take `cost`; `wait` has said that it can be."""
        spent = min(cost * self._gap, self._burst_s)
        self._full_at = (self._full_at if self._full_at > now else now) + spent

    def full(self, now: float) -> bool:
        """Return whether nothing is taken."""
        return self._full_at <= now


class Buckets:
    """The buckets of all callers and tenants."""

    def __init__(self, caller: Quota, tenants: Mapping[str, Quota]) -> None:
        """Limit each caller by `caller`, each tenant by its own quota or that of `*`."""
        self._caller, self._tenants = caller, tenants
        self._made: dict[tuple[str, str], Bucket] = {}

    def quota(self, tenant: str) -> Quota:
        """Return what a tenant may ask."""
        return self._tenants.get(tenant) or self._tenants.get("*") or _FREE

    def of(self, name: str, tenant: str, now: float) -> tuple[Bucket, ...]:
        """Return the buckets that a request of this caller takes from."""
        wanted = (("caller", f"{tenant}/{name}", self._caller), ("tenant", tenant, self.quota(tenant)))
        if len(self._made) > MOST:
            self._made = {place: bucket for place, bucket in self._made.items() if not bucket.full(now)}
        return tuple(
            self._made.get((kind, who)) or self._made.setdefault((kind, who), Bucket(quota.rate, quota.burst))
            for kind, who, quota in wanted
            if quota.rate > 0
        )


def drawn(buckets: tuple[Bucket, ...], cost: int, now: float) -> float:
    """Take `cost` from all buckets, or from none: return in how many seconds it could be, 0.0 when it was taken."""
    wait = 0.0
    for bucket in buckets:
        wait = max(wait, bucket.wait(cost, now))
    if not wait:
        for bucket in buckets:
            bucket.take(cost, now)
    return wait


_FREE = Quota()
