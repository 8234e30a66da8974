"""What is known of a customer and of a terminal when a payment comes in."""

from allotrope import Count, Last, Mean, View, days
from examples.fraud.events import Booked, Labelled, Payment, Promoted

DELAY = days(7)  # a fraud is known a week after it happened


class Spending(View[Payment | Booked], key="customer", at="at"):
    """How often and how much a customer pays."""

    count_1d = Count(window=days(1))
    count_7d = Count(window=days(7))
    count_30d = Count(window=days(30))
    mean_1d = Mean("amount", window=days(1))
    mean_7d = Mean("amount", window=days(7))
    mean_30d = Mean("amount", window=days(30))


class Risk(View[Labelled], key="terminal", at="at"):
    """How many payments of a terminal turned out to be frauds, as far as is known."""

    count_1d = Count(window=days(1), delay=DELAY)
    count_7d = Count(window=days(7), delay=DELAY)
    count_30d = Count(window=days(30), delay=DELAY)
    risk_1d = Mean("fraud", window=days(1), delay=DELAY)
    risk_7d = Mean("fraud", window=days(7), delay=DELAY)
    risk_30d = Mean("fraud", window=days(30), delay=DELAY)


class Champion(View[Promoted], key="model"):
    """Which version of a model decides."""

    version = Last("version")
    digest = Last("digest")
