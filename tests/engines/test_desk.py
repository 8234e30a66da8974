"""What an operator asks of a running app: which letters, redrives, what is past."""

import asyncio
from pathlib import Path

import pytest

from allotrope.cli.events.letters import asked
from allotrope.compose import build
from allotrope.engines.desk import Desk, Past, Wish, opened
from allotrope.engines.processes.control import Nobody
from allotrope.kernel.errors import Refused
from allotrope.runtime.effects.letters import Found, Search
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from tests.runtime.effects.ward import Follows, Job, Works, app

PRESETS = pytest.mark.parametrize("preset", ["modular-monolith", "event-driven"])


async def live(folder: Path, preset: str = "modular-monolith") -> Host:
    host = build(app, preset, folder, Options(ticks=False))
    await host.start()
    return host


@PRESETS
async def test_a_running_app_is_asked_at_its_socket(tmp_path: Path, preset: str) -> None:
    host = await live(tmp_path, preset)
    await host.publish(Job("ann", 1, 1))
    await host.settled()
    async with opened(host, tmp_path):
        found = await asyncio.to_thread(asked, tmp_path, "letters", Search(), Found)
        assert [letter.name for letter in found.letters] == ["1"]
        with pytest.raises(Refused, match="no component `Wrks` that takes events"):
            await asyncio.to_thread(asked, tmp_path, "letters", Search("Wrks"), Found)
    await host.close()
    with pytest.raises(Nobody, match="no app runs in"):
        await asyncio.to_thread(asked, tmp_path, "letters", Search(), Found)


@PRESETS
async def test_what_is_past_comes_in_again_as_new_inputs(tmp_path: Path, preset: str) -> None:
    host = await live(tmp_path, preset)
    for number in range(3):
        await host.publish(Job("ann", number))
    await host.publish(Job("bob", 7))
    await host.settled()
    desk = Desk(host)
    counted = await desk.replay(Past("Works"))
    assert (counted.found, counted.delivered) == ({"Works.work": 4}, 0)
    assert await host.of(Works).numbers("ann") == (0, 1, 2)
    meant = Past("Works", until=counted.until, key="ann", really=True, run="x")
    for _ in range(2):  # under one name nothing comes in twice
        done = await desk.replay(meant)
        assert (done.found, done.delivered) == ({"Works.work": 3}, 3)
        assert await host.of(Works).numbers("ann") == (0, 1, 2, 0, 1, 2)
        assert await host.of(Follows).numbers("ann") == (0, 1, 2, 0, 1, 2)
    assert await host.of(Works).numbers("bob") == (7,)
    with pytest.raises(Refused, match="no component `Nobody` that takes events"):
        await desk.replay(Past("Nobody"))
    await host.close()


async def test_what_is_past_waits_behind_a_parked_key_like_anything_else(tmp_path: Path) -> None:
    host = await live(tmp_path)
    await host.publish(Job("ann", 1))
    await host.publish(Job("ann", 2, 1))
    await host.settled()
    desk = Desk(host)
    found = await desk.replay(Past("Works"))
    await desk.replay(Past("Works", until=found.until, really=True, run="x"))
    assert await host.of(Works).numbers("ann") == (1,)
    assert (await host.site.letters(Search())).count == 3
    await host.tell("Works.fix", ("ann", 1))
    (done,) = await desk.redrive(Wish(Search()))
    assert (done.gone, done.left) == (3, 0)
    assert await host.of(Works).numbers("ann") == (1, 2, 1, 2)
    await host.close()
