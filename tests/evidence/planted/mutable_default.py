"""A default argument that is a list keeps what earlier calls put there."""

from allotrope import App, component, on
from tests.evidence.shop import Noted, Ordered, orders

PLACES = {"Clerk.note"}


def labels(item: str, known: list[str] = []) -> str:  # noqa: B006 - the mistake
    if item not in known:
        known.append(item)
    return ",".join(known)


@component
class Clerk:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        return Noted(order.id, labels(order.item))


app = App("mutable-default", Clerk, sample=lambda seed: orders(seed=seed))
