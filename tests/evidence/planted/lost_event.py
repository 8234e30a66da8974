"""Events are collected in the instance and published three at a time."""

from functools import cached_property

from allotrope import App, component, on
from tests.evidence.shop import Noted, Ordered, orders

PLACES = {"Clerk.note"}


@component
class Clerk:
    @cached_property
    def buffer(self) -> list[Noted]:
        return []

    @on(Ordered)
    async def note(self, order: Ordered) -> tuple[Noted, ...]:
        self.buffer.append(Noted(order.id, order.item))
        if len(self.buffer) < 3:
            return ()
        ready = tuple(self.buffer)
        self.buffer.clear()
        return ready


@component
class Reader:
    @on(Noted)
    async def read(self, noted: Noted) -> None:
        return None


app = App("lost-event", Clerk, Reader, sample=lambda seed: orders(seed=seed))
