"""Versions of one app, one after the other, over one folder: what the last one wrote is read by the next one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from allotrope import App, Event, Message, Refused, Sum, Table, View, command, component, on, query
from allotrope.compose import build, contract_at
from allotrope.kernel import codec
from allotrope.planning.contracts.changes import compared
from allotrope.planning.contracts.contract import contract_of
from allotrope.runtime.host import Host
from allotrope.runtime.migrations import migrate
from allotrope.runtime.options import Input
from allotrope.storage.ports import Commit
from allotrope.stores.sqlite import SqliteLedger


def first() -> App:
    class Paid(Event, key="card"):
        card: str
        amount: float

    class Account(Message):
        total: float

    class Spending(View[Paid]):
        total = Sum("amount")

    @component
    class Desk:
        accounts: Table[Account]

        @on(Paid)
        async def book(self, paid: Paid) -> None:
            known = await self.accounts.get(paid.card)
            await self.accounts.put(paid.card, Account((known.total if known else 0) + paid.amount))

        @command(key="card")
        async def close(self, card: str) -> float:
            known = await self.accounts.get(card)
            await self.accounts.delete(card)
            return known.total if known else 0.0

        @query
        async def total(self, card: str) -> float:
            known = await self.accounts.get(card)
            return known.total if known else 0.0

    return App("bank", Desk, Spending)


def wider() -> App:
    """The next version: a field more everywhere, each with a default."""

    class Paid(Event, key="card"):
        card: str
        amount: float
        fee: float = 0.5

    class Account(Message):
        total: float
        fees: float = 0.0

    class Spending(View[Paid]):
        total = Sum("amount")
        fees = Sum("fee")

    @component
    class Desk:
        accounts: Table[Account]

        @on(Paid)
        async def book(self, paid: Paid) -> None:
            known = await self.accounts.get(paid.card) or Account(0.0)
            await self.accounts.put(paid.card, Account(known.total + paid.amount, known.fees + paid.fee))

        @command(key="card")
        async def close(self, card: str, rest: float = 0.0) -> float:
            known = await self.accounts.get(card) or Account(0.0)
            await self.accounts.delete(card)
            return known.total + rest

        @query
        async def total(self, card: str) -> float:
            return (await self.accounts.get(card) or Account(0.0)).total

        @query
        async def fees(self, card: str) -> float:
            return (await self.accounts.get(card) or Account(0.0)).fees

    return App("bank", Desk, Spending)


def cents(fields: dict[str, Any]) -> dict[str, Any]:
    return {"card": fields["card"], "cents": round(fields["amount"] * 100)}


def in_cents(fields: dict[str, Any]) -> dict[str, Any]:
    return {"cents": round(fields["total"] * 100)}


def second(*, event: Any = (cents,), row: Any = (in_cents,)) -> App:
    """Another next version: amounts in cents, by an upcast of the event and one of the rows."""

    class Paid(Event, key="card", version=2, upcasts=event):
        card: str
        cents: int

    class Account(Message, version=2, upcasts=row):
        cents: int

    class Spending(View[Paid]):
        total = Sum("cents")

    @component
    class Desk:
        accounts: Table[Account]

        @on(Paid)
        async def book(self, paid: Paid) -> None:
            known = await self.accounts.get(paid.card) or Account(0)
            await self.accounts.put(paid.card, Account(known.cents + paid.cents))

        @command(key="card")
        async def close(self, card: str) -> float:
            return 0.0

        @query
        async def total(self, card: str) -> float:
            return (await self.accounts.get(card) or Account(0)).cents / 100

    return App("bank", Desk, Spending)


def host_of(app: App, folder: Path) -> Host:
    return build(app, "modular-monolith", folder)


def desk(host: Host) -> Any:
    return host.of(host.plan.app.components["Desk"].kind)


def spending(host: Host) -> Any:
    return host.of(host.plan.app.components["Spending"].kind)


def paid(host: Host, *values: Any) -> Event:
    return host.plan.app.events()["Paid"](*values)


async def live(app: App, folder: Path, work: Any) -> Any:
    """Start an app in a folder, let it work, and stop it."""
    host = host_of(app, folder)
    try:
        await host.start()
        found = await work(host)
        await host.drain()
        return found
    finally:
        await host.close()


async def pay(host: Host) -> None:
    await host.publish(paid(host, "ann", 70))
    await host.publish(paid(host, "ann", 60))
    await host.publish(paid(host, "bob", 5))
    await host.settled()


async def totals(host: Host) -> tuple[float, float, float]:
    return (
        await desk(host).total("ann"),
        await desk(host).total("bob"),
        (await spending(host).of("ann")).total,
    )


def test_a_field_is_added_and_taken_back(tmp_path: Path) -> None:
    async def to_and_fro() -> None:
        await live(first(), tmp_path, pay)
        assert await live(wider(), tmp_path, totals) == (130, 5, 130)
        await live(wider(), tmp_path, pay)
        assert await live(wider(), tmp_path, fees) == (
            1.0,
            2.0,
        )  # the rows of before have none, the log's events do
        assert await live(first(), tmp_path, totals) == (260, 10, 260)
        await live(first(), tmp_path, pay)
        assert await live(wider(), tmp_path, totals) == (390, 15, 390)

    async def fees(host: Host) -> tuple[float, float]:
        return await desk(host).fees("ann"), (await spending(host).of("ann")).fees

    asyncio.run(to_and_fro())


@pytest.mark.parametrize("to_and_fro", [(first, wider), (wider, first)])
def test_what_one_version_has_accepted_the_other_one_finishes(to_and_fro: Any, tmp_path: Path) -> None:
    one, other = to_and_fro

    async def cut(host: Host) -> None:
        await host.publish(paid(host, "ann", 70))
        await host.settled()
        await host.log.append(  # as a host does that is killed before it goes on
            [host.inputs._envelope("Desk.close", "ann", _arguments(host), Input(request="r1"))]
        )

    async def after(host: Host) -> Any:
        await host.settled()
        return await desk(host).total("ann"), await host.tell("Desk.close", ("ann",), Input(request="r1"))

    async def both() -> None:
        await live(one(), tmp_path, cut)
        total, answer = await live(other(), tmp_path, after)
        assert (total, answer) == (0.0, 70.0)

    asyncio.run(both())


def _arguments(host: Host) -> bytes:
    return codec.encode(("ann", 0.0) if "fees" in dir(desk(host)) else ("ann",))


def test_events_and_rows_of_another_version_are_brought_up(tmp_path: Path) -> None:
    async def work() -> None:
        await live(first(), tmp_path, pay)
        assert await live(second(), tmp_path, totals) == (130, 5, 13_000)
        # No row of before is left: nothing has to read one any more.
        assert await live(second(row=()), tmp_path, totals) == (130, 5, 13_000)
        assert await live(second(row=()), tmp_path, cents_paid) == 130.7

    async def cents_paid(host: Host) -> Any:
        await host.publish(paid(host, "ann", 70))
        await host.settled()
        return await desk(host).total("ann")

    asyncio.run(work())


def broken(fields: dict[str, Any]) -> dict[str, Any]:
    return {"cents": int(100 // (fields["total"] - 5))}  # bob has 5


@pytest.mark.parametrize(
    ("app", "because"),
    [
        (
            lambda: second(row=()),
            [r"Desk\.accounts\['ann'\] cannot be read as Account", "130.0", "add an upcast"],
        ),
        (
            lambda: second(row=(broken,)),
            [r"Desk\.accounts\['bob'\]", "ZeroDivisionError", "Nothing was changed"],
        ),
    ],
)
def test_a_row_that_cannot_be_read_stops_the_start_and_changes_nothing(
    app: Any, because: list[str], tmp_path: Path
) -> None:
    async def work() -> None:
        await live(first(), tmp_path, pay)
        for text in because:
            with pytest.raises(Refused, match=text):
                await live(app(), tmp_path, totals)
        assert await live(first(), tmp_path, totals) == (130, 5, 130)
        assert contract_at(tmp_path) == contract_of(first())  # the one that did not start has left nothing

    asyncio.run(work())


def test_an_event_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    async def work() -> None:
        await live(first(), tmp_path, pay)
        with pytest.raises(Refused, match=r"entry \d is a Paid of another version: .* is of version 1"):
            await live(second(event=()), tmp_path, totals)

    asyncio.run(work())


def test_an_older_app_refuses_what_a_newer_one_wrote(tmp_path: Path) -> None:
    async def work() -> None:
        await live(second(), tmp_path, pay)
        with pytest.raises(Refused, match="its rows are of version 2, this app knows 1"):
            await live(first(), tmp_path, totals)

    asyncio.run(work())


def test_what_runs_keeps_its_contract_in_its_folder(tmp_path: Path) -> None:
    async def work() -> None:
        await live(first(), tmp_path, pay)
        found = compared(contract_at(tmp_path), contract_of(wider()))
        assert {change.order for change in found} == {"any order", "provider first"}
        assert [
            c.order for c in compared(contract_at(tmp_path), contract_of(second())) if not c.compatible
        ] == ["refused"]

    asyncio.run(work())


def test_two_processes_may_bring_a_shared_ledger_up_at_once(tmp_path: Path) -> None:
    old = codec.encode({"total": 1.5})
    one, other = (SqliteLedger(tmp_path, "process", owner="bank", shared=True) for _ in range(2))

    async def work() -> None:
        await one.commit(Commit("Desk.book", 1, "", (("Desk.accounts", "ann", old),)))
        await asyncio.gather(*(migrate(second(), ledger, ["Desk"]) for ledger in (one, other)))
        for ledger in (one, other):
            assert [codec.decode(row) for _, row in ledger.scan("Desk.accounts")] == [
                {"@version": 2, "cents": 150}
            ]
            assert await migrate(second(), ledger) == 0

    try:
        asyncio.run(work())
    finally:
        one.close()
        other.close()
