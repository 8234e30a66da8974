"""Apps at the edge of what can be checked: nothing comes in, nothing works, all is late, the sample is broken."""

import asyncio
from collections.abc import Iterator

import msgspec

from allotrope import App, Lost, component, on, query
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


@component
class Oracle:
    """Answers later than it must, unless nobody hurries it."""

    prefix: str = "no"

    @query(deadline_s=0.02)
    async def ask(self, item: str) -> str:
        await asyncio.sleep(0.03)
        return f"{self.prefix} {item}"


@component
class Asker:
    oracle: Oracle

    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        try:
            return Noted(order.id, await self.oracle.ask(order.item))
        except Lost:
            return Noted(order.id, "too late")


@component
class Failing:
    @on(Ordered)
    async def note(self, order: Ordered) -> Noted:
        raise ValueError("never")


late = App("late", Oracle, Asker, sample=lambda seed: orders(8))


def strangers(count: int) -> Iterator[Publish]:
    """Orders, each of a customer of its own: no one's key is parked before it."""
    for number, given in enumerate(orders(count)):
        yield Publish(msgspec.structs.replace(given.event, customer=f"c{number}"), given.at)


failing = App("failing", Failing, sample=lambda seed: strangers(60))
