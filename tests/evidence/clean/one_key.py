"""Events that all have one key: they are handled in one order, and may share a row."""

from allotrope import App, Event, Table, component, on
from tests.evidence.shop import Counted, Ordered, orders


class Rung(Event, key="bell"):
    bell: str
    id: str


@component
class Clerk:
    @on(Ordered)
    async def ring(self, order: Ordered) -> Rung:
        return Rung("front", order.id)


@component
class Bell:
    rings: Table[int]

    @on(Rung)
    async def count(self, rung: Rung) -> Counted:
        number = (await self.rings.get("all") or 0) + 1
        await self.rings.put("all", number)
        return Counted(rung.id, number)


app = App("one-key", Clerk, Bell, sample=lambda seed: orders(seed=seed))
