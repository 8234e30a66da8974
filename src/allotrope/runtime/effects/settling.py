"""Settling: how to wait until all that was taken has had its effects, and what to say when that takes too long."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from allotrope.kernel.errors import Lost
from allotrope.runtime.flows import Flights, Flow


class Site(Protocol):
    """Where the work is done, as far as one has to wait for it."""

    @property
    def away(self) -> Mapping[str, str]:
        """Return what is waited for since it cannot be asked, and why that is."""

    async def flushed(self) -> None:
        """Return once every committed event is in the log."""


async def settled(flights: Flights, site: Site, deadline_s: float | None, flow: Flow | None = None) -> None:
    """Return once every flow has ended, or the given one. Lost, with what is waited for, at the deadline."""
    try:
        async with asyncio.timeout(deadline_s):
            await (_all(flights, site) if flow is None else flow.ended())
    except TimeoutError:
        away = "".join(f"; {unit} is away: {why}" for unit, why in site.away.items())
        words = f"{len(flights.flows) + flights.waiting} inputs are at work{away}"
        raise Lost(f"not everything was finished within {deadline_s:g} s: {words}") from None


async def _all(flights: Flights, site: Site) -> None:
    while True:
        await flights.settled()
        if (lost := flights.lost) is not None:
            raise Lost(f"stopped before everything was finished: {lost}") from lost
        await site.flushed()
        if not flights.busy:
            return
