"""A monotonic clock decides how an event is worded."""

import time

from allotrope import App, component, on
from tests.evidence.shop import Counted, Ordered, orders

PLACES = {"Clerk.timed"}


@component
class Clerk:
    @on(Ordered)
    async def timed(self, order: Ordered) -> Counted:
        return Counted(order.id, time.perf_counter_ns() % 1_000)


app = App("stop-watch", Clerk, sample=lambda seed: orders(seed=seed))
