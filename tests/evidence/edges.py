"""Apps at the edge of what can be checked: nothing comes in, nothing happens, the sample is broken."""

from collections.abc import Iterator

from allotrope import App, component, on
from allotrope.evidence.inputs import Publish
from tests.evidence.shop import Noted, Ordered, orders


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, order.item)


def broken(seed: int) -> Iterator[Publish]:
    yield from orders(3)
    raise RuntimeError("the file of the sample is not there")


silent = App("silent", Clerk, sample=lambda seed: ())
unread = App("unread", Clerk, sample=broken)
