"""The newest decisions of a host that keeps nothing durable: which are kept, how many, and what is counted."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from allotrope.compose import build, sinks
from allotrope.evidence.archive.history import History
from allotrope.kernel.errors import Refused
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from allotrope.runtime.telemetry.decisions import BURST, FILE, NEWEST, DecisionStore, Recent
from allotrope.runtime.tracing import Tracer
from tests.cli import shop

AT = datetime(2026, 1, 1, tzinfo=UTC)
TRACED = f"00-{'a' * 32}-{'b' * 16}-01"


async def opened(folder: Path, preset: str = "monolith", recent: Recent | None = None) -> Host:
    """Return a host; one that is given where decisions go has nobody else to write them."""
    options = Options(recent=recent, tracer=Tracer(per_second=0))
    if recent is None:
        options = Options(sinks=sinks(shop.app, folder), tracer=Tracer(per_second=0))
    host = build(shop.app, preset, None if recent else folder, options)
    await host.start()
    return host


async def order(host: Host, number: int, amount: int = 1, traceparent: str = "") -> int:
    event = shop.Ordered(f"o{number}", "bob" if amount == 13 else "ann", Decimal(amount), AT)
    return await host.publish(event, Input(traceparent=traceparent))


@pytest.mark.parametrize("preset", ["monolith", "loopback"])
async def test_all_of_a_small_run_are_kept(tmp_path: Path, preset: str) -> None:
    host = await opened(tmp_path, preset)
    for number in range(20):
        await order(host, number)
    assert await host.drain()
    history = History(tmp_path)
    assert history.counts == (preset, 40, 40)
    assert history.passed_over() == ""
    assert [len(history.records(origin)) for origin in range(1, 21)] == [2] * 20
    assert [event.kind for event in history.events(1)] == ["Ordered", "Priced"]
    assert history.of_key("ann") == list(range(20, 0, -1))
    history.close()


async def test_the_newest_are_kept_and_the_others_counted(tmp_path: Path) -> None:
    store = DecisionStore(tmp_path, "monolith")
    host = await opened(tmp_path, recent=store)
    traced = await order(host, 0, traceparent=TRACED)
    failed = await order(host, 1, amount=13)
    for number in range(2, NEWEST):
        await order(host, number)
    await host.close()
    store.close()
    history = History(tmp_path)
    assert history.counts == ("monolith", 2 * NEWEST - 1, NEWEST + 3)
    assert f"{NEWEST - 4:,} of {2 * NEWEST - 1:,} decisions were passed over" in history.passed_over()
    assert len(history.records(traced)) == 2
    assert "thirteen" in history.records(failed)[0].error
    assert history.of_trace("a" * 8) == [traced]
    assert history.records(3) == []
    assert len(history.records(NEWEST)) == 2
    history.close()


async def test_no_more_are_written_at_once_than_the_rate_allows(tmp_path: Path) -> None:
    store = DecisionStore(tmp_path, "monolith", most=BURST // 10)
    host = await opened(tmp_path, recent=store)
    for number in range(BURST):
        await order(host, number)
        if number % (NEWEST // 2) == 0:
            store.keep((), 0)
    await host.close()
    store.close()
    history = History(tmp_path)
    assert history.counts is not None
    made, written = history.counts.made, history.counts.written
    assert made == 2 * BURST
    assert BURST <= written < made
    assert history.kept().records <= BURST // 10 * 1.01
    assert len(history.records(BURST)) == 2  # what is kept of them are the newest
    history.close()


async def test_another_life_begins_anew_and_a_durable_one_takes_over(tmp_path: Path) -> None:
    for preset, kept in (("monolith", 1), ("monolith", 1), ("modular-monolith", 1), ("monolith", 1)):
        host = await opened(tmp_path, preset)
        await order(host, 0)
        await host.drain()
        history = History(tmp_path)
        assert history.kept()[2:] == (1, kept)
        assert (history.counts is None) == (preset == "modular-monolith") == (not (tmp_path / FILE).exists())
        history.close()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="name another folder"):
        DecisionStore(tmp_path / "file", "monolith")
