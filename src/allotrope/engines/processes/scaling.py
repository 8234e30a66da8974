"""Scaling by load: how many replicas a unit should have, within its bounds. The decision is a pure function.

It goes up soon and down late: one replica too many costs little, one too few costs everybody's time.
"""

import asyncio
import logging
import math
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from allotrope.engines.processes.fleet import Fleet

log = logging.getLogger("allotrope.fleet")
LOOK_S = 0.5
HIGH, HIGH_S = 0.75, 2.0  # above that share for so long: more replicas
LOW, LOW_S = 0.30, 15.0  # below that share for so long: one replica less
AIM = 0.6  # the share that is aimed at when there are to be more


class Trend(msgspec.Struct, frozen=True):
    """Since when the load of a unit has been high, and since when low; None when it is not."""

    high: float | None = None
    low: float | None = None


def decided(trend: Trend, now: float, load: float, count: int, bounds: tuple[int, int]) -> tuple[Trend, int]:
    """Return the trend that follows, and how many replicas there should be.

    `load` is the mean share in use of what each replica may use: over 1 when calls queue up. After a change the
    trend begins anew, so that its effect is seen before the next. At most twice as many are asked for at once.
    """
    least, most = bounds
    since_high = (now if trend.high is None else trend.high) if load > HIGH else None
    since_low = (now if trend.low is None else trend.low) if load < LOW else None
    wanted = count
    if since_high is not None and now - since_high >= HIGH_S:
        wanted = min(max(math.ceil(count * load / AIM), count + 1), 2 * count)
    elif since_low is not None and now - since_low >= LOW_S:
        wanted = count - 1
    wanted = min(max(wanted, least), most)
    return (Trend(), wanted) if wanted != count else (Trend(since_high, since_low), count)


class Scaler:
    """Looks at the units of a fleet that may have more or fewer replicas, and scales them."""

    def __init__(self, fleet: "Fleet") -> None:
        """Look at those whose bounds leave a choice."""
        self.fleet = fleet
        images = fleet.plan.topology.unit
        self.bounds = {
            unit: (max(1, image.replicas[0]), image.replicas[1])
            for unit, image in images.items()
            if max(1, image.replicas[0]) < image.replicas[1]
        }
        self.trends = dict.fromkeys(self.bounds, Trend())
        limits = fleet.plan.topology.limit_of
        self._places = {
            unit: sum(limits(name).concurrency for name in images[unit].components) for unit in self.bounds
        }

    def load(self, unit: str) -> float:
        """Return the share in use of what the replicas may use: of CPU time or of places for calls, the larger."""
        there = [m for m in self.fleet.of(unit) if m.up and m.vital.ready and not m.beside]
        if not there:
            return 0.0
        cpu = sum(member.usage.share for member in there) / self.fleet.plan.topology.unit[unit].cpu
        calls = sum(member.vital.calls for member in there) / self._places[unit]
        return max(cpu, calls) / len(there)

    async def run(self) -> None:
        """Look again and again; a unit that is still on its way to what was asked for is left alone."""
        while self.bounds:
            await asyncio.sleep(LOOK_S)
            for unit, bounds in self.bounds.items():
                count = self.fleet.wanted[unit]
                if unit in self.fleet.rolling or self.fleet.count(unit) != count:
                    continue
                load = self.load(unit)
                self.trends[unit], wanted = decided(self.trends[unit], monotonic(), load, count, bounds)
                if wanted != count:
                    log.info(
                        "%s: %d replicas instead of %d, at %.0f %% of what they may use",
                        unit,
                        wanted,
                        count,
                        load * 100,
                    )
                    self.fleet.scale(unit, wanted)
