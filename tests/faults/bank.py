"""A bank to be killed: deposits by event and by command, each row says in which order they came."""

from allotrope import App, Count, Event, Message, Sum, Table, View, command, component, on
from allotrope.testing import faults

faults.arm()  # in the units of a fleet too, each of which imports this


class Deposit(Event, key="account"):
    account: str
    number: int


class Booked(Event, key="account"):
    account: str
    number: int
    known: int  # how many deposits of the account came before, by the view


class Statement(Message):
    own: tuple[int, ...]  # what was there before
    other: tuple[int, ...] | None = None


class Deposits(View[Deposit]):
    count = Count()
    total = Sum("number")


@component
class Teller:
    """Takes deposits and keeps their order."""

    deposits: Deposits
    accounts: Table[tuple[int, ...]]

    @on(Deposit)
    async def deposit(self, given: Deposit) -> Booked:
        before = await self.accounts.get(given.account) or ()
        await self.accounts.put(given.account, (*before, given.number))
        return Booked(given.account, given.number, (await self.deposits.of(given.account)).count)

    @command(key="account")
    async def pay(self, account: str, number: int) -> tuple[Booked, Statement]:
        own = await self.accounts.get(account) or ()
        await self.accounts.put(account, (*own, number))
        return Booked(account, number, len(own)), Statement(own)

    @command()
    async def compare(self, account: str, number: int, other: str) -> tuple[Booked, Statement]:
        """Pay in, and look at another account: so it has no key, and all accounts wait for it."""
        own, seen = await self.accounts.get(account) or (), await self.accounts.get(other) or ()
        await self.accounts.put(account, (*own, number))
        return Booked(account, number, len(own)), Statement(own, seen)


@component
class Auditor:
    """Hears of each booking once."""

    heard: Table[tuple[int, ...]]

    @on(Booked)
    async def hear(self, booked: Booked) -> None:
        before = await self.heard.get(booked.account) or ()
        await self.heard.put(booked.account, (*before, booked.number))


app = App("bank", Deposits, Teller, Auditor)
