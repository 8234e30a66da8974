"""An operation reads an environment variable, which is the same in all processes of one machine."""

import os

from allotrope import App, component, on
from tests.evidence.shop import Noted, Ordered, orders

PLACES = {"Clerk.note"}


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, os.environ.get("SHOP_REGION", "nowhere"))


app = App("environment", Clerk, sample=lambda seed: orders(seed=seed))
