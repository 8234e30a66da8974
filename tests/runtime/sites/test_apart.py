"""A host whose components are in units of their own answers as one that has them all, whatever breaks between."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from allotrope import App, Count, Event, Fault, Sum, Table, View, command, component, days, on, query
from allotrope.compose import build
from allotrope.kernel.errors import Failed, Lost
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from allotrope.runtime.sites.site import Contents
from tests.runtime.sites.inline import hosted

DAY = datetime(2026, 1, 1)


class Order(Event, key="customer"):
    customer: str
    amount: float
    at: datetime


class Priced(Event, key="customer"):
    customer: str
    amount: float
    share: float


class Spending(View[Order], at="at"):
    orders_7d = Count(window=days(7))
    total_7d = Sum("amount", window=days(7))


class Shares(View[Priced], key="customer"):
    priced = Count()
    share = Sum("share")


class NoGift(Fault):
    customer: str


@component
class Rates:
    @query
    async def rate(self, customer: str, total: float) -> float:
        if customer == "nobody":
            raise ValueError("no rate for nobody")
        return total / 1000

    @query
    async def steps(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number


@component
class Pricer:
    rates: Rates
    spending: Spending

    @on(Order)
    async def price(self, order: Order) -> Priced:
        before = await self.spending.of(order.customer, order.at)
        share = await self.rates.rate(order.customer, before.total_7d)
        return Priced(order.customer, order.amount, share)


@component
class Gifts:
    shares: Shares
    given: Table[int]

    @on(Priced)
    async def count(self, priced: Priced) -> None:
        known = await self.shares.of(priced.customer)
        await self.given.put(priced.customer, (await self.given.get(priced.customer) or 0) + known.priced + 1)

    @query
    async def gift(self, customer: str) -> int | None:
        return await self.given.get(customer)

    @command(key="customer", faults=(NoGift,))
    async def take_back(self, customer: str) -> int:
        found = await self.given.get(customer)
        if found is None:
            raise NoGift(customer=customer)
        await self.given.delete(customer)
        return found


app = App("shop", Spending, Shares, Rates, Pricer, Gifts)


def order(number: int) -> Order:
    return Order(f"c{number % 7}", float(number % 13), DAY + timedelta(hours=number))


async def feed(host: Host, numbers: range) -> None:
    for number in numbers:
        await host.publish(order(number), Input(request=f"order-{number}", at=DAY + timedelta(hours=number)))


async def expected(folder: Path, count: int) -> Contents:
    host = build(app, "modular-monolith", folder, Options(ticks=False))
    await host.start()
    await feed(host, range(count))
    await host.settled()
    kept = await host.site.contents()
    await host.close()
    return kept


def same(one: Contents, other: Contents) -> None:
    assert one.tables == other.tables
    assert one.views == other.views
    keyed = [
        {(r.title, r.name): (r.tape, r.events, r.writes, r.answer, r.error) for r in kept.records}
        for kept in (one, other)
    ]
    assert keyed[0] == keyed[1]


async def test_tables_views_and_records_equal_those_of_one_process(tmp_path: Path) -> None:
    host, _ = hosted(app, tmp_path / "split")
    await host.start()
    await feed(host, range(100))
    await host.settled()
    same(await host.site.contents(), await expected(tmp_path / "whole", 100))
    assert await host.of(Gifts).gift("c1")
    assert (await host.of(Shares).of("c1")).priced == 15
    assert [n async for n in host.of(Rates).steps(3)] == [0, 1, 2]
    await host.close()


async def test_commands_answer_with_their_fault_and_once_for_each_request(tmp_path: Path) -> None:
    host, _ = hosted(app, tmp_path)
    await host.start()
    await feed(host, range(20))
    await host.settled()
    held = await host.of(Gifts).gift("c3")
    assert await host.tell("Gifts.take_back", ("c3",), Input(request="r")) == held
    assert await host.tell("Gifts.take_back", ("c3",), Input(request="r")) == held
    with pytest.raises(NoGift) as caught:
        await host.of(Gifts).take_back("c3")
    assert caught.value.customer == "c3"
    with pytest.raises(Failed, match="no rate for nobody"):
        await host.of(Rates).rate("nobody", 1.0)
    await host.close()


@pytest.mark.parametrize("unit", ["Pricer", "Gifts", "Spending", "Shares", "Rates"])
async def test_a_unit_that_ends_and_comes_back_changes_nothing(tmp_path: Path, unit: str) -> None:
    host, wire = hosted(app, tmp_path / "split")
    await host.start()
    await feed(host, range(40))
    await wire.take_down(unit)
    await feed(host, range(40, 60))
    wire.raise_up(unit)
    await feed(host, range(60, 100))
    await host.settled()
    same(await host.site.contents(), await expected(tmp_path / "whole", 100))
    await host.close()


async def test_who_waits_for_what_is_taken_learns_which_unit_is_away_and_may_stop_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host, wire = hosted(app, tmp_path)
    await host.start()
    await wire.take_down("Pricer")
    await feed(host, range(3))
    async with asyncio.timeout(10):
        while not host.site.away:
            await wire.changed(0.01)
    with pytest.raises(
        Lost, match=r"within 0.1 s: 3 inputs are at work; unit `Pricer` is away: unit `Pricer`.* not there"
    ):
        await host.settled(deadline_s=0.1)
    wire.raise_up("Pricer")
    await host.settled(deadline_s=10)
    assert not host.site.away
    assert caplog.text.count("unit `Pricer` is waited for") == 1
    await host.close()


@pytest.mark.parametrize("method", ["deliver", "read", "ask", "feed", "outbox", "relayed"])
async def test_lost_answers_change_nothing(tmp_path: Path, method: str) -> None:
    host, wire = hosted(app, tmp_path / "split")
    await host.start()
    await feed(host, range(40))
    wire.losses[method] = 3
    await feed(host, range(40, 60))
    if method == "feed":
        wire.losses.clear()
        for unit in wire.plan.units:
            if unit not in wire.served:
                wire.raise_up(unit)
    await feed(host, range(60, 100))
    await host.settled()
    same(await host.site.contents(), await expected(tmp_path / "whole", 100))
    await host.close()


async def test_a_host_that_is_killed_takes_up_what_its_units_have(tmp_path: Path) -> None:
    host, wire = hosted(app, tmp_path / "split")
    await host.start()
    await feed(host, range(50))
    await host.close()  # in the middle: nothing is waited for
    for unit in list(wire.served):
        await wire.take_down(unit)
    host, wire = hosted(app, tmp_path / "split")
    await host.start()
    await feed(host, range(45, 100))
    await host.settled()
    same(await host.site.contents(), await expected(tmp_path / "whole", 100))
    await host.close()
