"""Scoring: features as of the payment, then the model that was champion at that moment."""

from allotrope import component, on
from examples.fraud.events import Payment, Scored
from examples.fraud.features import Champion, Risk, Spending
from examples.fraud.models import MODEL, Models
from examples.fraud.rules import features


@component
class Scorer:
    """Puts a probability on every payment."""

    spending: Spending
    risk: Risk
    champion: Champion
    models: Models

    @on(Payment)
    async def score(self, payment: Payment) -> Scored:
        """Return the score; 0.0 by version "none" before the first model is promoted."""
        row = features(
            payment,
            await self.spending.of(payment.customer, payment.at),
            await self.risk.of(payment.terminal, payment.at),
        )
        champion = await self.champion.of(MODEL)
        if champion.version is None:
            return Scored(payment.id, payment.customer, 0.0, "none", row)
        probability = await self.models.probability(champion.version, champion.digest, row)
        return Scored(payment.id, payment.customer, probability, champion.version, row)
