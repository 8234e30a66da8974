"""What happens in the card business: the events that the components exchange."""

from datetime import datetime
from typing import Literal

from allotrope import Event

Verdict = Literal["approve", "review", "decline"]


class Submitted(Event, key="id"):
    """A terminal asks for a payment; nothing in it has been checked. `amount` is in euros."""

    id: str
    customer: str
    terminal: str
    amount: float
    at: datetime


class Payment(Event, key="customer"):
    """A payment that is new and well formed."""

    id: str
    customer: str
    terminal: str
    amount: float
    at: datetime


class Booked(Event, key="customer"):
    """A payment from the time before this app: it counts in the windows, and nobody decides on it."""

    id: str
    customer: str
    terminal: str
    amount: float
    at: datetime


class Rejected(Event, key="id"):
    """A payment that nobody needs to decide on, and why."""

    id: str
    reason: str


class Labelled(Event, key="id"):
    """The truth about a payment, a week late: has its cardholder complained? `at` is when it was paid."""

    id: str
    terminal: str
    fraud: int
    at: datetime


class Promoted(Event, key="model"):
    """From here on this version of a model decides; `digest` pins its file."""

    model: str
    version: str
    digest: str


class Scored(Event, key="id"):
    """How likely a payment is a fraud, with all that the score depends on."""

    id: str
    customer: str
    probability: float
    version: str
    features: tuple[float, ...]


class Decided(Event, key="id"):
    """What happens to a payment."""

    id: str
    verdict: Verdict
    probability: float
    version: str


class Reviewed(Event, key="id"):
    """What a person said about a payment that the model was not sure of; `reviewer` "" when nobody came."""

    id: str
    verdict: Verdict
    reviewer: str
