"""A query that answers in pieces, asked from outside and by a handler."""

from collections.abc import AsyncIterator

from allotrope import App, component, on, query
from tests.evidence.shop import Noted, Ordered, asked


@component
class Speller:
    @query
    async def spell(self, item: str) -> AsyncIterator[str]:
        for letter in item:
            yield letter


@component
class Clerk:
    speller: Speller

    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, "-".join([letter async for letter in self.speller.spell(order.item)]))


app = App("streamed", Speller, Clerk, sample=lambda seed: asked("Speller.spell", "apple", seed=seed))
