"""The log that a topology names: a host takes it up again, secrets in its address stay hidden, trials do not meet."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from allotrope import compose
from allotrope.compose.logs import alone, log_of, remove, shown
from allotrope.kernel.errors import Refused
from allotrope.planning.documents import document_of
from allotrope.planning.plans import Plan
from allotrope.planning.topology import Log, Topology
from allotrope.runtime.telemetry.secrets import mask
from tests import servers
from tests.cli import shop


def planned(url: str, folder: Path | None = None) -> Plan:
    text = f'base = "modular-monolith"\ndurability = "process"\n[log]\nkind = "nats"\nurl = "{url}"\n'
    document = document_of(text, "shop.toml", compose.preset_text)
    return compose.planned(shop.app, document if folder is None else alone(document, "shop", folder))


def test_a_package_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allotrope.compose.logs.find_spec", lambda name: None)
    topology = Topology(durability="process", log=Log("redis", "redis://broker"))
    with pytest.raises(Refused, match=re.escape("log redis needs redis: pip install 'allotrope[redis]'")):
        log_of(topology, tmp_path, "shop")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nats://user:sesame-4711@broker:4222", "nats://broker:4222"),
        ("nats://sesame-4711@one,nats://sesame-4711@two", "nats://one,nats://two"),
        ("postgresql://me:sesame-4711@broker/shop?sslmode=require", "postgresql://broker/shop"),
        ("redis://:sesame-4711@broker/2", "redis://broker/2"),
    ],
)
def test_who_comes_in_is_not_said(url: str, said: str) -> None:
    assert shown(url) == said
    planned("nats://sesame-4711@broker")
    assert "sesame" not in mask(f"reaching {url}")


@pytest.mark.service
async def test_a_folder_keeps_to_the_log_of_its_events(tmp_path: Path) -> None:
    """Another log would begin empty, beside rows that say otherwise."""
    with servers.nats_server(tmp_path / "server") as server:
        plan = planned(f"nats://127.0.0.1:{server.port}")
        host = compose.build(shop.app, plan, tmp_path / "shop")
        await host.start()
        await host.publish(shop.Ordered("o1", "anna", Decimal("9.99"), datetime(2026, 1, 1, tzinfo=UTC)))
        await host.drain()
        other = planned(f"nats://127.0.0.1:{server.port}", tmp_path)
        said = (
            rf"{tmp_path}/shop: its log is in nats, as shop, at nats://127.0.0.1:{server.port}; another one"
        )
        for wrong in (other, "modular-monolith"):
            with pytest.raises(Refused, match=said):
                compose.build(shop.app, wrong, tmp_path / "shop")
        await remove(plan)
        host = compose.build(shop.app, plan, tmp_path / "shop")
        with pytest.raises(Refused, match=r"is empty, and effects of \d+ inputs are kept here"):
            await host.start()
        await host.close()


@pytest.mark.service
async def test_a_trial_has_a_log_of_its_own_and_leaves_none(tmp_path: Path) -> None:
    with servers.nats_server(tmp_path / "server") as server:
        url = f"nats://127.0.0.1:{server.port}"
        plan, one, other = planned(url), planned(url, tmp_path / "a"), planned(url, tmp_path / "b")
        assert len({each.topology.log.name for each in (plan, one, other)}) == 3
        for times in (1, 2):
            host = compose.build(shop.app, one, tmp_path / "a")
            await host.start()
            assert len([e for e in await host.log.read() if e.envelope.kind == "/version"]) == 1, times
            await host.close()
        await remove(one)
        host = compose.build(shop.app, one, tmp_path / "c")
        await host.log.open()
        assert await host.log.read() == []
        await host.close()
