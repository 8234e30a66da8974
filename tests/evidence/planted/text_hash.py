"""A bucket from hash(), which is another one in every process."""

from allotrope import App, component, on
from tests.evidence.shop import Counted, Ordered, orders

PLACES = {"Clerk.bucket"}


@component
class Clerk:
    @on(Ordered)
    async def bucket(self, order: Ordered) -> Counted:
        return Counted(order.id, hash(order.customer) % 100)


app = App("text-hash", Clerk, sample=lambda seed: orders(seed=seed))
