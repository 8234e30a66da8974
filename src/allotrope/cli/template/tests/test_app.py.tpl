"""The app under every preset, and a component by itself: it is an ordinary class."""

from datetime import timedelta

import pytest
from allotrope.testing.presets import Live, every_preset

from PROJECT import app
from PROJECT.data import Usage
from PROJECT.doors import Desk, Model, Watch
from PROJECT.events import Alarmed, Closed, NotOpen, Reading
from PROJECT.learning import surprise


async def read(live: Live, *days_kwh: float) -> None:
    """Let one meter be read, day after day."""
    for kwh in days_kwh:
        await live.publish(Reading(f"{live.now:%m-%d}", "attic", kwh, live.now))
        await live.at(timedelta(days=1))
    await live.settled()


@every_preset(app, seeds=2)
async def test_a_surprising_reading_waits_for_a_person(live: Live) -> None:
    await read(live, 8.0, 8.1, 7.9, 8.0, 8.2, 8.1, 24.0)
    (case,) = await live.of(Desk).waiting()
    assert (case.id, case.kwh) == ("01-07", 24.0)
    assert [alarm.id for alarm in live.events(Alarmed)] == [case.id]


@every_preset(app)
async def test_nothing_is_surprising_while_a_meter_is_new(live: Live) -> None:
    await read(live, 8.0, 24.0, 1.0)
    assert await live.of(Desk).waiting() == ()


@every_preset(app)
async def test_a_case_is_closed_once(live: Live) -> None:
    await read(live, 8.0, 8.1, 7.9, 8.0, 8.2, 8.1, 24.0)
    assert await live.of(Desk).close("01-07", "an oven") == Closed("01-07", "an oven")
    with pytest.raises(NotOpen):
        await live.of(Desk).close("01-07", "again")


def test_the_model_is_surprised_by_what_is_far_off() -> None:
    assert surprise(8.0, 8.2) < 0.5 < surprise(8.0, 12.0)


def test_a_component_is_an_ordinary_class() -> None:
    assert Watch(usage=Usage(), model=Model()).threshold == 0.99
