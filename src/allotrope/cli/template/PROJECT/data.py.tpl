"""What is kept: the view that events add up to, and the rows of the tables. No rule, no decision."""

from allotrope import Count, Mean, Message, View, days

from PROJECT.events import Reading


class Usage(View[Reading], key="meter", at="at"):
    """What a meter has used in the last four weeks. A handler reads it as it was before its own event."""

    readings = Count(window=days(28))
    mean_kwh = Mean("kwh", window=days(28))


class Case(Message):
    """A reading that waits for a person: a row of the desk's table."""

    id: str
    meter: str
    kwh: float
    usual: float
    surprise: float
