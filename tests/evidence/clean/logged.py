"""It writes to a log and measures how long it took, as any program may; neither reaches an answer."""

import logging
import time

from allotrope import App, component, on
from tests.evidence.shop import Noted, Ordered, orders

log = logging.getLogger("shop")


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        began = time.perf_counter()
        words = sorted({order.item, order.customer})
        log.warning("%s in %.6f s", order.id, time.perf_counter() - began)
        return Noted(order.id, " ".join(words))


app = App("logged", Clerk, sample=lambda seed: orders(seed=seed))
