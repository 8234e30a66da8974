"""Deciding: the policy between a score and what happens."""

from allotrope import component, on
from examples.fraud.events import Decided, Scored
from examples.fraud.rules import verdict


@component
class Decider:
    """Turns scores into verdicts."""

    review_from: float = 0.25
    decline_from: float = 0.6

    @on(Scored)
    async def decide(self, scored: Scored) -> Decided:
        """Return the verdict on a payment."""
        chosen = verdict(scored.probability, self.review_from, self.decline_from)
        return Decided(scored.id, chosen, scored.probability, scored.version)
