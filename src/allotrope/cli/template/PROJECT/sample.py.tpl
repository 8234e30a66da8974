"""What `allotrope check PROJECT` replays under every preset: a month of readings, and a person at the desk."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from allotrope.evidence.inputs import Ask, Given, Publish, Tell

from PROJECT.events import Reading

START = datetime(2024, 3, 1, 6, tzinfo=UTC)
METERS = {"attic": 6.0, "bakery": 19.0, "cellar": 4.5, "dairy": 11.0}
DAYS = 28


def sample(seed: int) -> Iterator[Given]:
    """Yield inputs in their order, equal ones for equal seeds."""
    chance = Random(seed)
    for day in range(DAYS):
        for number, (meter, usual) in enumerate(METERS.items()):
            at = START + timedelta(days=day, minutes=number)
            kwh = usual * (3.0 if chance.random() < 0.08 else chance.uniform(0.95, 1.05))
            yield Publish(Reading(f"{meter}-{day}", meter, round(kwh, 2), at), at)
        if day % 7 == 6:
            yield Ask("Desk.waiting", (3,))
            noon = START + timedelta(days=day, hours=6)
            yield from (Tell("Desk.close", (f"{meter}-{day - 1}", "looked at"), noon) for meter in METERS)
