"""The events and the inputs of the small apps beside this file: orders of a shop, one mistake to an app."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from allotrope import Event
from allotrope.evidence.inputs import Ask, Publish, Tell

START = datetime(2024, 5, 1, tzinfo=UTC)
CUSTOMERS = ("ann", "bob", "cleo", "dan", "eve")
ITEMS = ("apple", "bread", "cheese", "dates")


class Ordered(Event, key="customer"):
    id: str
    customer: str
    item: str
    amount: float
    at: datetime


class Noted(Event, key="id"):
    id: str
    text: str


class Counted(Event, key="id"):
    id: str
    number: int


class Repriced(Event, key="item"):
    item: str
    price: float


def orders(count: int = 60, seed: int = 0) -> Iterator[Publish]:
    """Orders of five customers, a minute apart."""
    chance = Random(seed)
    for number in range(count):
        at = START + timedelta(minutes=number)
        customer, item = chance.choice(CUSTOMERS), chance.choice(ITEMS)
        yield Publish(Ordered(f"o{number}", customer, item, round(chance.uniform(0.1, 90.0), 2), at), at)


def priced(count: int = 60, seed: int = 0) -> Iterator[Publish]:
    """Orders, and now and then another price."""
    for number, given in enumerate(orders(count, seed)):
        if number % 7 == 0:
            item = ITEMS[number % len(ITEMS)]
            yield Publish(Repriced(item, 1.0 + number), given.at)
        yield given


def asked(title: str, *names: str, count: int = 40, seed: int = 0) -> Iterator[Publish | Ask]:
    """Orders, and a query about each of `names` after every tenth."""
    for number, given in enumerate(orders(count, seed), 1):
        yield given
        if number % 10 == 0:
            yield from (Ask(title, (name,)) for name in names)


def told(title: str, count: int = 40, seed: int = 0) -> Iterator[Tell]:
    """A command for each order: its id and its amount."""
    for given in orders(count, seed):
        order = given.event
        assert isinstance(order, Ordered)
        yield Tell(title, (order.customer, order.amount), given.at)
