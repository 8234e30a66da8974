"""A small app whose units the tests start, kill, stop, roll and scale."""

import asyncio
import logging
import os

from allotrope import App, Count, Event, Table, View, command, component, on, query

log = logging.getLogger("kiosk")
HOARD: list[bytes] = []

if word := os.environ.get("KIOSK_BROKEN"):
    raise RuntimeError(word)


class Order(Event, key="customer"):
    customer: str
    number: int
    slow: float = 0.0


class Booked(Event, key="customer"):
    customer: str
    number: int


class Bookings(View[Booked]):
    booked = Count()


@component
class Prices:
    @query
    async def price(self, number: int) -> float:
        return number * 1.5

    @query
    async def sees(self) -> tuple[str, int]:
        """Return which GPUs this process may use, and its id."""
        return os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()

    @query
    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @query
    async def hoard(self, size_mb: int) -> int:
        """Use memory, and keep it."""
        HOARD.append(b"x" * (size_mb << 20))
        return os.getpid()


@component
class Books:
    prices: Prices
    orders: Table[tuple[int, ...]]

    @on(Order)
    async def book(self, order: Order) -> Booked:
        known = await self.orders.get(order.customer) or ()
        await self.prices.price(order.number)
        if order.slow:
            log.info("order %d waits in %d", order.number, os.getpid())
            await asyncio.sleep(order.slow)
            log.info("order %d goes on in %d", order.number, os.getpid())
        await self.orders.put(order.customer, (*known, order.number))
        return Booked(order.customer, order.number)

    @query
    async def sees(self) -> tuple[str, int]:
        """Return which GPUs this process may use, and its id."""
        return os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()

    @query
    async def numbers(self, customer: str) -> tuple[int, ...]:
        return await self.orders.get(customer) or ()


@component
class Desk:
    prices: Prices
    bookings: Bookings
    paid: Table[int]

    @command(key="customer")
    async def pay(self, customer: str) -> int:
        count = (await self.paid.get(customer) or 0) + 1
        await self.paid.put(customer, count)
        return count

    @query
    async def quote(self, customer: str, number: int) -> float:
        known = await self.bookings.of(customer)
        return await self.prices.price(number) + 0 * known.booked

    @query
    async def sees(self) -> tuple[str, int]:
        """Return which GPUs this process may use, and its id."""
        return os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()

    @query
    async def guess(self, number: int) -> float:
        """Say what a price may be, when nobody can be asked."""
        return -1.0


app = App("kiosk", Bookings, Prices, Books, Desk)
