"""A plain function counts in a thread-local; which thread it gets is chance."""

import threading

from allotrope import App, component, on
from tests.evidence.shop import Counted, Ordered, orders

PLACES = {"Clerk.count"}
own = threading.local()


@component
class Clerk:
    @on(Ordered)
    def count(self, order: Ordered) -> Counted:
        own.count = getattr(own, "count", 0) + 1
        return Counted(order.id, own.count)


app = App("thread-local", Clerk, sample=lambda seed: orders(seed=seed))
