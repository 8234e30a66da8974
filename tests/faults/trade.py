"""A process to be killed: each trade says how its three steps will be answered, and those who have one keep a list."""

from datetime import timedelta

from allotrope import App, Event, Process, Step, Table, component, on
from allotrope.testing import faults

faults.arm()  # in the units of a fleet too, each of which imports this
HOUR = timedelta(hours=1)


class Begun(Event, key="trade"):
    trade: str
    manners: tuple[str, str, str]  # of each step: ok, twice, no, late (once somebody pokes) or mute


class First(Event, key="trade"):
    trade: str
    manners: tuple[str, str, str]


class FirstDone(Event, key="trade"):
    trade: str


class FirstFailed(Event, key="trade"):
    trade: str


class FirstBack(Event, key="trade"):
    trade: str


class FirstUndone(Event, key="trade"):
    trade: str


class Second(Event, key="trade"):
    trade: str
    manners: tuple[str, str, str]


class SecondDone(Event, key="trade"):
    trade: str


class SecondFailed(Event, key="trade"):
    trade: str


class SecondBack(Event, key="trade"):
    trade: str


class SecondUndone(Event, key="trade"):
    trade: str


class Third(Event, key="trade"):
    trade: str
    manners: tuple[str, str, str]


class ThirdDone(Event, key="trade"):
    trade: str


class ThirdFailed(Event, key="trade"):
    trade: str


class Poked(Event, key="trade"):
    trade: str


class Completed(Event, key="trade"):
    trade: str


class Compensated(Event, key="trade"):
    trade: str


class Trade(Process[Begun], key="trade", timeout=HOUR, completed=Completed, compensated=Compensated):
    first = Step(First, done=FirstDone, failed=FirstFailed, undo=FirstBack, undone=FirstUndone)
    second = Step(Second, done=SecondDone, failed=SecondFailed, undo=SecondBack, undone=SecondUndone)
    third = Step(Third, done=ThirdDone, failed=ThirdFailed)


async def answered(acts: Table[tuple[str, ...]], trade: str, what: str, manner: str) -> int:
    """Have the effect of a step, unless its manner says otherwise, and return how often it is confirmed."""
    if manner not in ("ok", "twice"):
        return 0
    await acts.put(trade, (*(await acts.get(trade) or ()), what))
    return 2 if manner == "twice" else 1


@component
class Left:
    """Has the first and the third step."""

    acts: Table[tuple[str, ...]]
    late: Table[str]

    @on(First)
    async def first(self, asked: First) -> tuple[FirstDone | FirstFailed, ...]:
        manner = asked.manners[0]
        if manner == "late":
            await self.late.put(asked.trade, "first")
        if manner == "no":
            return (FirstFailed(asked.trade),)
        return (FirstDone(asked.trade),) * await answered(self.acts, asked.trade, "first", manner)

    @on(FirstBack)
    async def back(self, asked: FirstBack) -> FirstUndone:
        await answered(self.acts, asked.trade, "first back", "ok")
        return FirstUndone(asked.trade)

    @on(Third)
    async def third(self, asked: Third) -> tuple[ThirdDone | ThirdFailed, ...]:
        manner = asked.manners[2]
        if manner == "late":
            await self.late.put(asked.trade, "third")
        if manner == "no":
            return (ThirdFailed(asked.trade),)
        return (ThirdDone(asked.trade),) * await answered(self.acts, asked.trade, "third", manner)

    @on(Poked)
    async def poke(self, poked: Poked) -> FirstDone | ThirdDone | None:
        what = await self.late.get(poked.trade)
        if what is None:
            return None
        await self.late.delete(poked.trade)
        await answered(self.acts, poked.trade, what, "ok")
        return FirstDone(poked.trade) if what == "first" else ThirdDone(poked.trade)


@component
class Right:
    """Has the second step."""

    acts: Table[tuple[str, ...]]
    late: Table[bool]

    @on(Second)
    async def second(self, asked: Second) -> tuple[SecondDone | SecondFailed, ...]:
        manner = asked.manners[1]
        if manner == "late":
            await self.late.put(asked.trade, True)
        if manner == "no":
            return (SecondFailed(asked.trade),)
        return (SecondDone(asked.trade),) * await answered(self.acts, asked.trade, "second", manner)

    @on(SecondBack)
    async def back(self, asked: SecondBack) -> SecondUndone:
        await answered(self.acts, asked.trade, "second back", "ok")
        return SecondUndone(asked.trade)

    @on(Poked)
    async def poke(self, poked: Poked) -> SecondDone | None:
        if not await self.late.get(poked.trade):
            return None
        await self.late.delete(poked.trade)
        await answered(self.acts, poked.trade, "second", "ok")
        return SecondDone(poked.trade)


@component
class Ears:
    """Hears of each end once."""

    heard: Table[tuple[str, ...]]

    @on(Completed, Compensated)
    async def hear(self, ended: Completed | Compensated) -> None:
        await answered(self.heard, ended.trade, type(ended).__name__.lower(), "ok")


app = App("trades", Trade, Left, Right, Ears)
