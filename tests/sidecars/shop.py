"""A small app whose units are watched, and topologies for it."""

from datetime import datetime

from allotrope import App, Event, Fault, Message, Table, command, component, on, query


class Order(Event, key="customer"):
    customer: str
    amount: float
    at: datetime


class Card(Message):
    number: str
    secret_code: str


class Unknown(Fault):
    customer: str


@component
class Prices:
    api_token: str = "tkn-123456"

    @query(faults=(Unknown,))
    async def price(self, customer: str, size: float = 1.0, card: Card | None = None) -> float:
        if customer == "nobody":
            raise Unknown(customer=customer)
        return size * 2.0


@component
class Desk:
    prices: Prices
    orders: Table[float]

    @on(Order)
    async def take(self, order: Order) -> None:
        price = await self.prices.price(order.customer, order.amount)
        await self.orders.put(order.customer, (await self.orders.get(order.customer) or 0.0) + price)

    @query
    async def total(self, customer: str) -> float:
        return await self.orders.get(customer) or 0.0

    @command(key="customer")
    async def clear(self, customer: str) -> None:
        await self.orders.delete(customer)


app = App("shop", Prices, Desk)
TOPOLOGY = """
durability = "process"
reply = "effect"

[unit.desk]
components = ["Desk"]

[unit.prices]
components = ["Prices"]
sidecars = ["requests"]

[edge."*"]
via = "rpc"

[topic."*"]
via = "log"

[sidecar.requests]
file_s = 0.5
"""
