"""What an input waits for, followed to its root, under every way of running."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from allotrope.compose import build
from allotrope.engines.processes.control import Control
from allotrope.engines.waits import Wait, Waits
from allotrope.kernel.errors import Refused
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from tests.engines.held import Job, app

PRESETS = ["modular-monolith", "microservices", "event-driven"]


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "held"
    folder.mkdir()
    monkeypatch.setenv("HELD", str(folder))
    return folder


@contextlib.asynccontextmanager
async def live(folder: Path, preset: str, more: str = "") -> AsyncIterator[Host]:
    path = folder / "held.toml"
    path.write_text(f'base = "{preset}"\n{more}')
    host = build(app, str(path), folder / "kept", Options(ticks=False))
    try:
        await host.start()
        yield host
    finally:
        await host.close()


async def chain(host: Host, name: str, until: Callable[[tuple[Wait, ...]], bool]) -> tuple[Wait, ...]:
    """Return what is waited for once it is as it should be."""
    async with asyncio.timeout(20):
        while True:
            found = await Waits(host).why(name)
            if until(found):
                return found
            await asyncio.sleep(0.01)


def opened(gate: Path) -> None:
    for held in gate.iterdir():
        held.unlink()


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_chain_of_inputs_is_followed_to_the_one_that_runs(
    tmp_path: Path, gate: Path, preset: str
) -> None:
    (gate / "ann").touch()
    async with live(tmp_path, preset) as host:
        for number in range(3):
            await host.publish(Job("ann", number), Input(request=f"r{number}"))
        found = await chain(host, "3/Works.work", lambda links: links[-1].name == "1")
        assert [link.name for link in found][-1] == "1"
        assert "comes before it with key 'ann' at Works.work" in found[0].why
        assert found[-1] == Wait("1", "Works.work", "nothing: it runs", found[-1].since)
        reading = await chain(host, "2/Reads.read", lambda links: len(links) > 1)
        assert reading[-1].title == "Works.work"
        assert (await Waits(host).why("r0"))[-1].name == "1"
        (gate / "ann").unlink()
        await host.settled()
        assert [link.why for link in await Waits(host).why("3")] == ["nothing: it is finished"]
        with pytest.raises(Refused, match="the newest input is 3"):
            await Waits(host).why("4")


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_parked_key_is_the_root_of_what_waits_behind(tmp_path: Path, gate: Path, preset: str) -> None:
    async with live(tmp_path, preset) as host:
        for number in (-1, 2, 3):
            await host.publish(Job("ann", number))
        await host.settled()
        behind, head = await Waits(host).why("3")
        assert behind.why == "key 'ann' is parked at Works, 2 before it"
        assert head.why == "it is a dead letter, which parks key 'ann' at Works: ValueError: under zero"


async def test_what_is_tried_again_and_what_has_no_room_say_so(tmp_path: Path, gate: Path) -> None:
    more = "window = 2\n[component.Works]\nattempts = 100\n"
    async with live(tmp_path, "event-driven", more) as host:
        await host.publish(Job("ann", -1))
        tried = await chain(host, "1/Works.work", lambda links: "tried again" in links[-1].why)
        assert tried[-1].why.endswith("Works.work failed: ValueError: under zero")
        for name in ("held", "other"):
            (gate / name).touch()
            await host.publish(Job(name, 1))
        for number in range(5):
            await host.publish(Job(f"late{number}", 1))
        last = await chain(host, "8", lambda links: len(links) > 1)
        assert "waits in the log for room" in last[0].why or "the window lets in" in last[0].why
        opened(gate)


async def test_a_unit_that_is_away_is_named(tmp_path: Path, gate: Path) -> None:
    async with live(tmp_path, "microservices") as host:
        assert isinstance(host.site.engine, Control)
        fleet = host.site.engine.fleet
        fleet.scale("Works", 0)
        async with asyncio.timeout(20):
            while not any("away" in hold.why for hold in await host.site.holds()):
                pass  # each look is a letter to the units that are there
        await host.publish(Job("ann", 1))
        found = await chain(host, "1", lambda links: "away" in links[-1].why)
        assert found[-1].why.startswith("unit `Works` is away: ")
        fleet.scale("Works", 1)
        await host.settled(deadline_s=20)
