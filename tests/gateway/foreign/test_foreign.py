"""Components in another stack: queries, faults, streams and commands over their HTTP contract; one effect each."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from allotrope import compose
from allotrope.kernel.errors import Failed, Lost, PlanRefused, Refused
from allotrope.planning.documents import document_of
from allotrope.planning.plans import plan
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input
from tests.cli import shop
from tests.gateway.foreign import lab
from tests.gateway.foreign.lab import Desk, Models, Outside, Point

pytest.importorskip("aiohttp")
KEY = "sesame-4711"


@asynccontextmanager
async def stranger(*, key: str = KEY, port: int = 0) -> AsyncIterator[str]:
    """Yield the address of Models, written for Node.js."""
    node = shutil.which("node")
    if node is None:
        if os.environ.get("ALLOTROPE_SERVICES") == "required":
            pytest.fail("no Node.js here")
        pytest.skip("no Node.js here")
    script = str(Path(__file__).with_name("models.js"))
    process = await asyncio.create_subprocess_exec(
        node, script, key, str(port), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def running(folder: Path, address: str, key: str = KEY) -> AsyncIterator[Host]:
    credential = folder / "credential"
    credential.write_text(f"{key}\n")
    text = lab.TOPOLOGY.format(address=address, credential=credential)
    host = compose.build(lab.app, document_of(text, "lab.toml", compose.preset_text), folder)
    await host.start()
    try:
        yield host
    finally:
        await host.drain()


async def test_queries_faults_and_streams(tmp_path: Path) -> None:
    async with stranger() as address, running(tmp_path, address) as host:
        models, desk = host.of(Models), host.of(Desk)
        assert (await models.score(Point(x=2.0))).why == ("x", "w")
        assert await desk.rate(3.0) == "3.0"
        assert await desk.rate(-1.0) == "outside -1.0"
        with pytest.raises(Outside):
            await models.score(Point(x=-2.0))
        with pytest.raises(Failed, match="it broke"):
            await models.score(Point(x=500))
        with pytest.raises(Failed, match="does not fit"):
            await models.score(Point(x=666))
        with pytest.raises(Lost):
            await models.score(Point(x=999))
        with pytest.raises(Lost):
            await desk.hasty()
        assert [word async for word in models.words(3)] == ["w0", "w1", "w2"]
        pieces = models.words(-1)
        assert await anext(pieces) == "w0"
        with pytest.raises(Failed, match="no more"):
            await anext(pieces)


async def test_a_call_carries_key_trace_and_deadline(tmp_path: Path) -> None:
    async with stranger() as address, running(tmp_path, address) as host:
        said = dict(line.split(": ", 1) for line in await host.of(Desk).heard())
        assert said["authorization"] == f"Bearer {KEY}"
        assert said["content-type"] == "application/json"
        assert 0 < int(said["x-deadline-ms"]) <= 5000
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", said["traceparent"])
        assert "idempotency-key" not in said


async def test_a_command_has_one_effect_however_often_it_is_sent(tmp_path: Path) -> None:
    async with stranger() as address, running(tmp_path, address) as host:
        assert await host.tell("Models.train", ("cut", 2.0), Input(request="r1")) == 3.0  # it is asked twice
        assert await host.tell("Models.train", ("cut", 2.0), Input(request="r1")) == 3.0  # and not sent again
        assert await host.tell("Models.train", ("b", 1.0)) == 4.0
        assert await host.of(Models).count() == 2
        with pytest.raises(Refused, match="a step goes forward"):
            await host.tell("Models.train", ("b", -1.0))
        assert await host.tell("Desk.keep", ("k", 503.0)) == 503.0 * 4.0  # it was busy twice


async def test_who_is_away_is_waited_for_by_commands_only(tmp_path: Path) -> None:
    async with stranger() as address:
        port = int(address.rpartition(":")[2])
    async with running(tmp_path, address) as host:
        with pytest.raises(Refused, match="nobody answers"):
            await host.of(Models).count()
        with pytest.raises(Lost, match="it will run"):
            await host.tell("Models.train", ("a", 1.0), Input(deadline_s=0.3))
        async with stranger(port=port):
            await host.settled()
            assert await host.of(Models).count() == 1


async def test_a_wrong_key_is_refused_in_words(tmp_path: Path) -> None:
    async with stranger(key="another") as address, running(tmp_path, address) as host:
        with pytest.raises(Refused, match="who"):
            await host.of(Models).count()
        with pytest.raises(Refused, match="who"):
            await host.tell("Models.train", ("a", 1.0))


def refusals(text: str) -> tuple[str, ...]:
    with pytest.raises(PlanRefused) as refused:
        plan(lab.app, document_of(text, "lab.toml", compose.preset_text))
    return refused.value.faults


def test_a_plan_says_what_cannot_be_foreign() -> None:
    text = lab.TOPOLOGY.format(address="ftp://there", credential="")
    assert refusals(text) == (
        "lab.toml:10  unit `models` is at 'ftp://there'; write http://HOST:PORT or https://HOST:PORT or "
        "grpc://HOST:PORT or grpcs://HOST:PORT",
    )
    local = text.replace('foreign = "ftp://there"\n', "")
    (fault,) = refusals(local)
    assert "Models is known by its contract only" in fault


def test_what_takes_events_or_is_a_view_stays_here() -> None:
    text = 'durability = "process"\n[unit.a]\ncomponents = ["*"]\n[unit.b]\ncomponents = [{}]\nforeign = "http://x:1"\n'
    ways = '[edge."*"]\nvia = "rpc"\n[topic."*"]\nvia = "log"\n'
    for names, reason in (('"Till"', "Till.price takes events"), ('"Paid"', "Paid is a view")):
        with pytest.raises(PlanRefused, match=f"lab.toml:6  unit `b` is foreign, but {reason}"):
            plan(shop.app, document_of(text.format(names) + ways, "lab.toml", compose.preset_text))


def test_a_key_goes_nowhere_in_the_clear(tmp_path: Path) -> None:
    credential = tmp_path / "credential"
    text = lab.TOPOLOGY.format(address="http://192.0.2.1:9000", credential=credential)
    made = plan(lab.app, document_of(text, "lab.toml", compose.preset_text))
    with pytest.raises(Refused, match="cannot be read"):
        compose.build(lab.app, made, tmp_path)
    credential.write_text(KEY)
    with pytest.raises(Refused, match="https or grpcs only"):
        compose.build(lab.app, made, tmp_path)
