"""It writes to a log, measures how long it took and uses a temporary file, as any program may."""

import logging
import tempfile
import time
from dataclasses import dataclass

from allotrope import App, component, on
from tests.evidence.shop import Noted, Ordered, orders

log = logging.getLogger("shop")


@dataclass
class Words:
    words: list[str]


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        began = time.perf_counter()
        words = sorted({order.item, order.customer})
        with tempfile.TemporaryFile("w+") as scratch:
            scratch.write(repr(Words(words)))
        log.warning("%s in %.6f s", order.id, time.perf_counter() - began)
        return Noted(order.id, " ".join(words))


app = App("logged", Clerk, sample=lambda seed: orders(seed=seed))
