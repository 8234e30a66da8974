"""The review desk: people settle what the model is not sure of."""

from datetime import datetime, timedelta

from allotrope import Clock, Fault, Message, Table, command, component, every, on, query
from allotrope.kernel.messages import Tick
from examples.fraud.events import Decided, Reviewed, Verdict

PATIENCE = timedelta(hours=24)


class NotOpen(Fault):
    """There is no such case on the desk: it was settled, or never came there."""

    payment_id: str


class Case(Message):
    """A payment that waits for a person."""

    id: str
    probability: float
    since: datetime


@component
class Desk:
    """Holds the cases that wait, the least certain first."""

    cases: Table[Case]
    clock: Clock

    @on(Decided)
    async def take(self, decided: Decided) -> None:
        """Put an uncertain payment on the desk."""
        if decided.verdict == "review":
            await self.cases.put(decided.id, Case(decided.id, decided.probability, self.clock.now()))

    @query
    async def waiting(self, most: int = 20) -> tuple[Case, ...]:
        """Return the cases nearest to even odds."""
        cases = [case async for _, case in self.cases.items()]
        return tuple(sorted(cases, key=lambda case: (abs(case.probability - 0.5), case.id))[:most])

    @command(key="payment_id", faults=(NotOpen,))
    async def settle(self, payment_id: str, verdict: Verdict, reviewer: str) -> Reviewed:
        """Settle a case."""
        if await self.cases.get(payment_id) is None:
            raise NotOpen(payment_id=payment_id)
        await self.cases.delete(payment_id)
        return Reviewed(payment_id, verdict, reviewer)

    @every(timedelta(hours=1))
    async def sweep(self, tick: Tick) -> tuple[Reviewed, ...]:
        """Decline what nobody has looked at for a day."""
        overdue = [case async for _, case in self.cases.items() if self.clock.now() - case.since >= PATIENCE]
        for case in overdue:
            await self.cases.delete(case.id)
        return tuple(Reviewed(case.id, "decline", "") for case in overdue)
