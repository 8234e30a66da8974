"""The front door: malformed and repeated payments stop here."""

from allotrope import Clock, Table, component, on
from examples.fraud.events import Payment, Rejected, Submitted
from examples.fraud.rules import malformed


@component
class Intake:
    """Lets each well-formed payment through once."""

    limit: float = 10_000.0  # euros; beyond it a person has to be asked before the payment is sent at all
    seen: Table[bool]
    clock: Clock

    @on(Submitted)
    async def accept(self, submitted: Submitted) -> Payment | Rejected:
        """Return the payment, or why it goes no further."""
        reason = malformed(submitted, self.limit, self.clock.now())
        if reason:
            return Rejected(submitted.id, reason)
        if await self.seen.get(submitted.id):
            return Rejected(submitted.id, "a payment of this id was submitted before")
        await self.seen.put(submitted.id, True)
        return Payment(submitted.id, submitted.customer, submitted.terminal, submitted.amount, submitted.at)
