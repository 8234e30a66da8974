"""A helper function, two calls away from the operation, asks for today."""

from datetime import UTC, datetime

from allotrope import App, component, on
from tests.evidence.shop import Noted, Ordered, orders

PLACES = {"Clerk.note"}


def year() -> int:
    return datetime.now(UTC).year


def season(order: Ordered) -> str:
    return f"{order.item} of {'this century' if year() < 2100 else 'the next'}"


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, season(order))


app = App("wall-date", Clerk, sample=lambda seed: orders(seed=seed))
