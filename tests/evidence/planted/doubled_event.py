"""A second attempt at the same order publishes a second event."""

from functools import cached_property

from allotrope import App, component, on
from tests.evidence.shop import Noted, Ordered, orders

PLACES = {"Clerk.note"}


@component
class Clerk:
    @cached_property
    def seen(self) -> set[str]:
        return set()

    @on(Ordered)
    async def note(self, order: Ordered) -> tuple[Noted, ...]:
        again = order.id in self.seen
        self.seen.add(order.id)
        noted = Noted(order.id, order.item)
        return (noted, noted) if again else (noted,)


@component
class Reader:
    @on(Noted)
    async def read(self, noted: Noted) -> None:
        return None


app = App("doubled-event", Clerk, Reader, sample=lambda seed: orders(seed=seed))
