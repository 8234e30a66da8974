"""Chance and time as dependencies."""

from allotrope import App, Chance, Clock, component, on
from tests.evidence.shop import Noted, Ordered, orders


@component
class Lottery:
    chance: Chance
    clock: Clock

    @on(Ordered)
    async def draw(self, order: Ordered) -> Noted:
        source = self.chance.source("prize")
        return Noted(order.id, f"{source.random():.6f} at {self.clock.now():%H:%M}")


app = App("drawn", Lottery, sample=lambda seed: orders(seed=seed))
