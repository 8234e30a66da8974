"""What happens: the events, and the faults that a caller may expect. Values that never change."""

from datetime import datetime

from allotrope import Event, Fault


class Reading(Event, key="meter"):
    """A meter was read: `kwh` since the day before. Readings of one meter are handled in their order."""

    id: str
    meter: str
    kwh: float
    at: datetime


class Alarmed(Event, key="id"):
    """A reading is surprising; `surprise` runs from 0 to 1."""

    id: str
    meter: str
    kwh: float
    usual: float
    surprise: float


class Closed(Event, key="id"):
    """A person has looked at a case, and this is why it needs nothing more."""

    id: str
    reason: str


class NotOpen(Fault):
    """There is no such case, or somebody has closed it already."""

    id: str
