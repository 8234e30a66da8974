"""The read side: what was decided on a payment, and what became of it."""

from allotrope import Count, Message, Table, View, component, on, query
from examples.fraud.events import Decided, Labelled, Rejected, Reviewed, Verdict


class Totals(View[Decided], key="verdict"):
    """How many payments met each verdict of the model."""

    count = Count()


class Decision(Message):
    """One payment's story; `fraud` is None until the truth is known."""

    id: str
    verdict: Verdict
    probability: float
    version: str
    reviewer: str = ""
    fraud: bool | None = None


@component
class Decisions:
    """Answers what was decided, by payment."""

    rows: Table[Decision]
    totals: Totals

    @on(Decided)
    async def decided(self, event: Decided) -> None:
        """Remember a verdict of the model."""
        await self.rows.put(event.id, Decision(event.id, event.verdict, event.probability, event.version))

    @on(Rejected)
    async def rejected(self, event: Rejected) -> None:
        """Remember a refusal at the door, unless the id is that of an earlier payment."""
        if await self.rows.get(event.id) is None:
            await self.rows.put(event.id, Decision(event.id, "decline", 1.0, "intake"))

    @on(Reviewed)
    async def reviewed(self, event: Reviewed) -> None:
        """Put a person's verdict in the place of the model's."""
        if (row := await self.rows.get(event.id)) is not None:
            settled = Decision(row.id, event.verdict, row.probability, row.version, event.reviewer, row.fraud)
            await self.rows.put(event.id, settled)

    @on(Labelled)
    async def labelled(self, event: Labelled) -> None:
        """Join the truth to the decision."""
        if (row := await self.rows.get(event.id)) is not None:
            truth = bool(event.fraud)
            known = Decision(row.id, row.verdict, row.probability, row.version, row.reviewer, truth)
            await self.rows.put(event.id, known)

    @query
    async def of(self, payment_id: str) -> Decision | None:
        """Return what was decided on a payment, or None."""
        return await self.rows.get(payment_id)

    @query
    async def total(self, verdict: Verdict) -> int:
        """Return how many payments met a verdict of the model."""
        return (await self.totals.of(verdict)).count
