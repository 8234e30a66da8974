"""Commands, some of which end with a declared fault; a query afterwards."""

from collections.abc import Iterator

from allotrope import App, Event, Fault, Table, command, component, on, query
from allotrope.evidence.inputs import Ask, Tell
from tests.evidence.shop import CUSTOMERS, told


class Broke(Fault):
    customer: str
    short: float


class Paid(Event, key="customer"):
    customer: str
    amount: float


@component
class Till:
    balances: Table[float]

    @command(key="customer", faults=(Broke,))
    async def pay(self, customer: str, amount: float) -> Paid:
        left = (await self.balances.get(customer) or 200.0) - amount
        if left < 0:
            raise Broke(customer=customer, short=-left)
        await self.balances.put(customer, left)
        return Paid(customer, amount)

    @query
    async def balance(self, customer: str) -> float | None:
        return await self.balances.get(customer)


@component
class Book:
    sums: Table[float]

    @on(Paid)
    async def note(self, paid: Paid) -> None:
        await self.sums.put(paid.customer, (await self.sums.get(paid.customer) or 0.0) + paid.amount)


def sample(seed: int) -> Iterator[Tell | Ask]:
    yield from told("Till.pay", seed=seed)
    yield from (Ask("Till.balance", (customer,)) for customer in CUSTOMERS)


app = App("till", Till, Book, sample=sample)
