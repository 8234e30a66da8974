"""Rollouts: how a newer release of a unit takes the place of the older one, at once or after a time beside it.

Not here: who is asked (`lines`), who writes (`leases`), and how replicas are replaced one by one (`fleet`).
"""

import math
from typing import TYPE_CHECKING

import msgspec

from allotrope.engines.processes.lines import Canary
from allotrope.engines.processes.member import BESIDE
from allotrope.kernel.errors import Refused

if TYPE_CHECKING:
    from allotrope.engines.processes.fleet import Fleet


class Rollout:
    """Moves the units of a fleet from release to release."""

    def __init__(self, fleet: "Fleet") -> None:
        """Move nothing yet."""
        self.fleet = fleet

    async def roll(self, unit: str) -> str:
        """Replace all replicas of a unit by the newest release; first some, when the topology says so for this unit.

        Return what to know. Refused while there is a canary.
        """
        if unit in self.fleet.releases.canaries:
            raise Refused(f"unit `{unit}` has a canary; --promote it or --undo it first")
        newest = self.fleet.launcher.nursery.newest
        share = self.fleet.plan.topology.gateway.canary.get(unit, 1.0)
        if share < 1 and newest != self.fleet.releases.settled[unit]:
            return await self.begin(unit, share, newest)
        await self._replace(unit, newest)
        return ""

    async def begin(self, unit: str, share: float, newer: int = 0) -> str:
        """Give a share of a unit's work to a newer release, or to the canary that it has; return what to know.

        Without `newer` it is the code as it is now. Refused when the new release cannot be started: then nothing has
        changed for the older one.
        """
        if not 0 < share < 1:
            raise Refused(f"a canary has a share over 0 and under 1, as 0.1; {share:g} is none")
        self._idle(unit)
        fleet, running = self.fleet, self.fleet.releases.canaries.get(unit)
        if running is None and not fleet.launcher.devices.fits(fleet.images[unit].gpu):
            raise Refused(f"no GPU is left for a canary of unit `{unit}`; scale it down first, or roll it")
        release = running.release if running else newer or fleet.launcher.renew()
        count = fleet.releases.beside[unit] = max(1, math.ceil(share * fleet.wanted[unit]))
        self._set(unit, Canary(unit, release, share, fleet.leased(unit)))
        fleet.rolling.add(unit)
        try:
            fleet.fill(unit, range(BESIDE + 1, BESIDE + count + 1))
            fleet.trim(unit, range(BESIDE + count + 1, 2 * BESIDE))
            await fleet.ready(unit, count, beside=True)
            await fleet.settle(unit)
        except BaseException:
            if running is None:
                self._drop(unit)
            raise
        finally:
            fleet.rolling.discard(unit)
        return self._warning(unit)

    async def promote(self, unit: str) -> None:
        """Replace the older release by that of the canary."""
        canary = self._running(unit)
        self._set(unit, msgspec.structs.replace(canary, share=1.0))
        try:
            await self._replace(unit, canary.release)
        except BaseException:
            self._set(unit, canary)
            raise
        await self._end(unit)

    async def undo(self, unit: str) -> str:
        """End the canary of a unit; return what to know."""
        release = self._running(unit).release
        await self._end(unit)
        self.fleet.launcher.renew()  # nothing is ever started from it again
        if left := [m.name for m in self.fleet.of(unit) if m.release == release]:
            return (
                f"{', '.join(left)} came up while it ran, with its code: put the older code in place and roll"
            )
        return ""

    # -- steps

    def _idle(self, unit: str) -> None:
        if unit in self.fleet.rolling:
            raise Refused(f"unit `{unit}` is being rolled already", 1.0)

    def _running(self, unit: str) -> Canary:
        self._idle(unit)
        if unit not in self.fleet.releases.canaries:
            raise Refused(f"unit `{unit}` has no canary; begin one with `allotrope roll {unit} --canary 0.1`")
        return self.fleet.releases.canaries[unit]

    def _set(self, unit: str, canary: Canary) -> None:
        self.fleet.releases.canaries[unit] = canary
        self.fleet.split(unit, canary)

    async def _replace(self, unit: str, release: int) -> None:
        self._idle(unit)
        before, self.fleet.releases.settled[unit] = self.fleet.releases.settled[unit], release
        try:
            await self.fleet.roll(unit)
        except BaseException:  # whoever ends from now on comes back as it was
            self.fleet.releases.settled[unit] = before
            raise
        finally:
            self._forget()

    def _drop(self, unit: str) -> None:
        self.fleet.releases.beside.pop(unit)
        self.fleet.trim(unit, range(BESIDE + 1, 2 * BESIDE))
        del self.fleet.releases.canaries[unit]
        self.fleet.split(unit, None)
        self._forget()

    async def _end(self, unit: str) -> None:
        self._drop(unit)
        await self.fleet.left(unit)

    def _forget(self) -> None:
        self.fleet.launcher.nursery.keep(self.fleet.releases.used())

    def _warning(self, unit: str) -> str:
        """Return what becomes of an older replica that ends now, where that is not what it was."""
        if self.fleet.launcher.forks(unit, self.fleet.releases.settled[unit]):
            return ""
        return (
            "its replicas are not forked, so an older one that ends comes back with the code that is there "
            "then; `allotrope ps` shows the release of each"
        )
