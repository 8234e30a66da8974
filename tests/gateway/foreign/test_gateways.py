"""One app of ours uses another through its gateway, over HTTP and over gRPC alike."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from allotrope.gateway.rpc.server import RpcServer
from allotrope.kernel.errors import Failed, Refused
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input
from tests.gateway.doors import opened
from tests.gateway.foreign import other
from tests.gateway.foreign.lab import Desk, Models, Outside, Point
from tests.gateway.foreign.test_foreign import running

pytest.importorskip("aiohttp")


@asynccontextmanager
async def joined(folder: Path, way: str, *scopes: str) -> AsyncIterator[Host]:
    """Yield the host of `lab`, whose Models are an app that is served here."""
    there, here = folder / "there", folder / "here"
    there.mkdir()
    here.mkdir()
    async with opened(there, keys={"lab": scopes or ("*",)}, what=other.app) as door:
        rpc = RpcServer(door.gate)
        port = await rpc.listen("127.0.0.1", 0) if way == "grpc" else door.port
        try:
            async with running(here, f"{way}://127.0.0.1:{port}", door.client.headers["x-api-key"]) as host:
                yield host
        finally:
            await rpc.stop(1.0)


@pytest.mark.parametrize("way", ["http", "grpc"])
async def test_both_ways_mean_the_same(way: str, tmp_path: Path) -> None:
    async with joined(tmp_path, way) as host:
        models = host.of(Models)
        scored = await models.score(Point(x=2.0, tags=("a", "b")))
        assert (scored.value, scored.why) == (2.0, ("x", "a", "b"))
        with pytest.raises(Outside) as outside:
            await models.score(Point(x=-2.0))
        assert outside.value.x == -2.0
        with pytest.raises(Failed) as failed:
            await models.score(Point(x=500))
        assert "it broke" not in str(failed.value)  # what is inside stays inside
        assert [word async for word in models.words(3)] == ["w0", "w1", "w2"]
        with pytest.raises(Failed):
            assert [word async for word in models.words(-2)]
        assert await host.tell("Models.train", ("a", 1.0), Input(request="r")) == 2.0
        assert await host.tell("Models.train", ("a", 1.0), Input(request="r")) == 2.0
        assert await models.count() == 1
        assert await host.of(Desk).rate(3.0) == "6.0"


@pytest.mark.parametrize("way", ["http", "grpc"])
async def test_what_a_key_may_not_do_is_refused(way: str, tmp_path: Path) -> None:
    async with joined(tmp_path, way, "Models.count") as host:
        assert await host.of(Models).count() == 0
        with pytest.raises(Refused):
            await host.of(Models).score(Point(x=1.0))
