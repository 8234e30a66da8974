"""Orders: a process of three steps across three components that ends completed, or leaves nothing behind.

None of the components knows of the process: each answers what it is asked. Amounts are in cents.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal

from allotrope import App, Clock, Event, Message, Process, Step, Table, component, on, query
from allotrope.evidence.inputs import Ask, Given, Publish

START = datetime(2024, 3, 1, tzinfo=UTC)
PACE = timedelta(minutes=4)


class Placed(Event, key="order"):
    """A customer has ordered."""

    order: str
    item: str
    count: int
    cents: int


class Reserve(Event, key="item"):
    """Keep this much of an item for an order."""

    order: str
    item: str
    count: int


class Reserved(Event, key="order"):
    """It is kept."""

    order: str


class OutOfStock(Event, key="order"):
    """There is not enough."""

    order: str
    reason: str


class Release(Event, key="item"):
    """Put back what was kept for an order."""

    order: str
    item: str
    count: int


class Released(Event, key="order"):
    """It is back."""

    order: str


class Charge(Event, key="order"):
    """Take the money for an order."""

    order: str
    cents: int


class Answered(Event, key="order"):
    """A person has said whether the bank takes the money for an order."""

    order: str
    answer: Literal["yes", "no"]


class Charged(Event, key="order"):
    """The money is taken, under this number of the bank."""

    order: str
    receipt: str


class Declined(Event, key="order"):
    """The bank says no."""

    order: str
    reason: str


class Refund(Event, key="order"):
    """Give the money of this receipt back."""

    order: str
    receipt: str


class Refunded(Event, key="order"):
    """The money is back."""

    order: str


class Ship(Event, key="order"):
    """Send the parcel."""

    order: str
    item: str


class Shipped(Event, key="order"):
    """The parcel has left the house."""

    order: str


class Confirmed(Event, key="order"):
    """An order has come to its end."""

    order: str


class Cancelled(Event, key="order"):
    """An order was taken back, with nothing kept and nothing charged."""

    order: str
    reason: str = ""


class Order(
    Process[Placed],
    key="order",
    timeout=timedelta(minutes=30),
    completed=Confirmed,
    compensated=Cancelled,
):
    """Reserves, charges, ships; or takes back what it has done."""

    reserve = Step(Reserve, done=Reserved, failed=OutOfStock, undo=Release, undone=Released)
    charge = Step(Charge, done=Charged, failed=Declined, undo=Refund, undone=Refunded)
    ship = Step(Ship, done=Shipped)


@component
class Store:
    """Keeps count of what is on the shelf."""

    first: int = 20  # of each item, when nobody has counted it yet
    shelf: Table[int]

    @on(Reserve)
    async def reserve(self, asked: Reserve) -> Reserved | OutOfStock:
        """Take from the shelf."""
        left = await self.left(asked.item)
        if asked.count > left:
            return OutOfStock(asked.order, f"{left} of {asked.item} left, {asked.count} ordered")
        await self.shelf.put(asked.item, left - asked.count)
        return Reserved(asked.order)

    @on(Release)
    async def release(self, asked: Release) -> Released:
        """Put back on the shelf."""
        await self.shelf.put(asked.item, await self.left(asked.item) + asked.count)
        return Released(asked.order)

    @query
    async def left(self, item: str) -> int:
        """Return how much of an item is on the shelf."""
        found = await self.shelf.get(item)
        return self.first if found is None else found


class Due(Message):
    """A charge that the bank has not answered yet."""

    cents: int
    since: datetime


@component
class Bank:
    """Takes money at once up to a limit; above it a person has to say yes or no."""

    limit: int = 50_000  # cents
    due: Table[Due]
    taken: Table[int]
    clock: Clock

    @on(Charge)
    async def charge(self, asked: Charge) -> Charged | None:
        """Take the money, or wait for a person."""
        if asked.cents > self.limit:
            await self.due.put(asked.order, Due(asked.cents, self.clock.now()))
            return None
        return await self._take(asked.order, asked.cents)

    @on(Answered)
    async def decide(self, answered: Answered) -> Charged | Declined | None:
        """Go on with a charge that waits; an answer to none is passed over."""
        due = await self.due.get(answered.order)
        if due is None:
            return None
        await self.due.delete(answered.order)
        if answered.answer == "no":
            return Declined(answered.order, "a person said no")
        return await self._take(answered.order, due.cents)

    @on(Refund)
    async def refund(self, asked: Refund) -> Refunded:
        """Give money back."""
        await self.taken.delete(asked.order)
        return Refunded(asked.order)

    @query
    async def balance(self) -> int:
        """Return all that was taken and not given back, in cents."""
        return sum([cents async for _, cents in self.taken.items()])

    async def _take(self, order: str, cents: int) -> Charged:
        await self.taken.put(order, cents)
        return Charged(order, f"receipt-{order}")


@component
class Dock:
    """Sends parcels."""

    parcels: Table[str]

    @on(Ship)
    async def ship(self, asked: Ship) -> Shipped:
        """Send one."""
        await self.parcels.put(asked.order, asked.item)
        return Shipped(asked.order)

    @query
    async def sent(self) -> tuple[str, ...]:
        """Return the orders that were sent."""
        return tuple([order async for order, _ in self.parcels.items()])


def sample(seed: int) -> Iterator[Given]:
    """Yield inputs, equal ones for equal seeds: some too large for the shelf, some that a person decides on late."""
    chance, waiting, at = Random(seed), list[tuple[datetime, str]](), START
    for number in range(60):
        at += PACE
        order, dear = f"o{number}", chance.random() < 0.5
        cents = chance.randint(60_000, 90_000) if dear else chance.randint(100, 9_000)
        placed = Placed(order, chance.choice(("cup", "pot", "pan")), chance.randint(1, 4), cents)
        yield Publish(placed, at)
        if chance.random() < 0.1:
            yield Publish(placed, at)  # a customer who clicks twice
        if dear and chance.random() < 0.9:
            waiting.append((at + timedelta(minutes=chance.choice((2, 20, 29, 45, 70))), order))
        for due, late in [pair for pair in waiting if pair[0] <= at]:
            waiting.remove((due, late))
            yield Publish(Answered(late, "yes" if chance.random() < 0.6 else "no"), at)
            yield Ask("Order.state", (late,))
    yield Publish(Answered("nobody's", "yes"), at)
    yield Ask("Order.unfinished")


app = App("orders", Order, Store, Bank, Dock, sample=sample)
