"""Where a way back fails: the kernel tries it again and sets it aside, and the process says that it waits for it."""

from allotrope.testing.presets import Live, every_preset
from tests.modules.processes.jobs import Begun, Ended, Job, app


@every_preset(app)
async def test_a_way_back_that_fails_stays_open_and_is_set_aside(live: Live) -> None:
    await live.publish(Begun("stuck"))
    await live.publish(Begun("fine"))
    await live.settled()
    assert [event.job for event in live.events(Ended)] == ["fine"]
    (open_one,) = await live.of(Job).unfinished()
    assert (open_one.key, open_one.status) == ("stuck", "compensating")
    assert [(step.step, step.state) for step in open_one.steps] == [("use", "failed"), ("take", "undoing")]
    (failure,) = live.failures()
    assert "Hands.give on Give" in failure
    assert "the door is locked" in failure
