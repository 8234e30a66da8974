"""The number of the process goes into an event."""

import os

from allotrope import App, component, on
from tests.evidence.shop import Counted, Ordered, orders

PLACES = {"Clerk.count"}


@component
class Clerk:
    @on(Ordered)
    async def count(self, order: Ordered) -> Counted:
        return Counted(order.id, os.getpid())


app = App("process-number", Clerk, sample=lambda seed: orders(seed=seed))
