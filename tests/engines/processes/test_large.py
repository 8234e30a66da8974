"""What is large or slow: it holds up its own unit at most, and nothing is lost or killed for it."""

import signal
from pathlib import Path

import pytest

from allotrope.compose import build
from allotrope.kernel.errors import Refused
from allotrope.runtime.options import Options
from allotrope.storage.ports import LARGEST
from tests.engines.processes.large import Doc, Reader, Seen, app


async def test_a_handler_that_computes_for_long_is_waited_for(tmp_path: Path) -> None:
    host = build(app, "microservices", tmp_path, Options(ticks=False))
    await host.start()
    await host.publish(Doc("slow", "sleep"))
    await host.settled()
    assert await host.of(Reader).size("slow") == 5
    assert host.site.engine is not None
    assert not any(host.site.engine.fleet.restarts.values())  # type: ignore[attr-defined]  # of this engine
    await host.drain()


async def test_what_is_too_large_is_refused_or_parked_and_the_rest_goes_on(tmp_path: Path) -> None:
    host = build(app, "microservices", tmp_path, Options(ticks=False))
    await host.start()
    with pytest.raises(Refused, match="keep them in a file"):
        await host.publish(Doc("z", "z" * (LARGEST + 1)))
    await host.publish(Doc("l", "large"))
    await host.publish(Doc("a", "fits"))
    await host.settled()
    assert (host.site.parked, await host.of(Reader).size("a"), await host.of(Reader).size("l")) == (
        1,
        4,
        None,
    )
    await host.drain()


async def test_a_view_of_many_large_events_comes_back(tmp_path: Path) -> None:
    host = build(app, "microservices", tmp_path, Options(ticks=False))
    await host.start()
    for number in range(900):  # more than one frame holds
        await host.publish(Doc(f"d{number}", "y" * 100_000))
    await host.settled()
    assert host.site.engine is not None
    fleet = host.site.engine.fleet  # type: ignore[attr-defined]  # of this engine
    next(member for member in fleet.members.values() if member.unit == "Seen").signal(signal.SIGKILL)
    await host.publish(Doc("e", "end"))
    await host.settled()
    assert (await host.of(Seen).of("d1")).seen == 1
    assert await host.of(Reader).size("e") == 3
    await host.drain()
