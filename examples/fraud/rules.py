"""The rules of the business, as plain functions of plain values."""

from datetime import UTC, datetime, timedelta

from examples.fraud.events import Payment, Submitted, Verdict
from examples.fraud.features import Risk, Spending

SKEW = timedelta(minutes=5)  # by which the clock of a terminal may be fast


def malformed(submitted: Submitted, limit: float, now: datetime) -> str:
    """Return why a payment cannot be decided on, or ""; `limit` is in euros."""
    if not submitted.id or not submitted.customer or not submitted.terminal:
        return "id, customer and terminal must not be empty"
    if submitted.amount < 0.0:
        return f"the amount {submitted.amount:.2f} is negative"
    if submitted.amount > limit:
        return f"the amount {submitted.amount:.2f} is above the limit of {limit:.2f}"
    at = submitted.at if submitted.at.tzinfo is not None else submitted.at.replace(tzinfo=UTC)
    if at > now + SKEW:  # counted in, it would push all that is true out of its customer's windows
        return f"the time {at.isoformat()} lies in the future"
    return ""


def features(payment: Payment, spending: Spending, risk: Risk) -> tuple[float, ...]:
    """Return the 15 features of the Fraud Detection Handbook, in the order of `lab.protocol.FEATURES`.

    A view read by a handler holds what came before; the customer's windows of the Handbook count the payment
    itself, so it is added here. A terminal's windows end a week ago and cannot hold it.
    """
    weekend, night = float(payment.at.weekday() >= 5), float(payment.at.hour <= 6)
    counts = (spending.count_1d, spending.count_7d, spending.count_30d)
    means = (spending.mean_1d, spending.mean_7d, spending.mean_30d)
    pairs = zip(counts, means, strict=True)
    with_this = ((count * mean + payment.amount) / (count + 1) for count, mean in pairs)
    return (
        payment.amount, weekend, night,
        *(float(count + 1) for count in counts), *with_this,
        float(risk.count_1d), float(risk.count_7d), float(risk.count_30d),
        risk.risk_1d, risk.risk_7d, risk.risk_30d,
    )  # fmt: skip


def verdict(probability: float, review_from: float, decline_from: float) -> Verdict:
    """Return what to do with a payment: people look at what lies between the two thresholds."""
    if probability >= decline_from:
        return "decline"
    return "review" if probability >= review_from else "approve"
