"""A tick every quarter of an hour sweeps rows of all keys, by the clock that is a dependency."""

from datetime import timedelta

from allotrope import App, Clock, Table, Tick, component, every, on
from tests.evidence.shop import Noted, Ordered, orders

PATIENCE = timedelta(minutes=20)


@component
class Shelf:
    waiting: Table[int]
    clock: Clock

    @on(Ordered)
    async def take(self, order: Ordered) -> None:
        await self.waiting.put(order.id, int(self.clock.now().timestamp()))

    @every(timedelta(minutes=15))
    async def sweep(self, tick: Tick) -> tuple[Noted, ...]:
        now = self.clock.now().timestamp()
        old = [id async for id, since in self.waiting.items() if now - since >= PATIENCE.total_seconds()]
        for id in old:
            await self.waiting.delete(id)
        return tuple(Noted(id, "swept") for id in old)


app = App("hourly", Shelf, sample=lambda seed: orders(seed=seed))
