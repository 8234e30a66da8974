"""A start takes up the kept state of the views and the end of the log, and answers as one that has read all of it."""

import asyncio
import logging
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from allotrope import App, Count, Event, Last, Sum, Table, View, component, days, on
from allotrope.compose import build
from allotrope.logs.sqlite import SqliteLog
from allotrope.runtime.host import Host
from allotrope.runtime.keeping import checkpoints
from allotrope.runtime.options import Input, Options
from allotrope.runtime.sites.here import Here
from allotrope.storage.checkpoints import NAMES, Checkpoints
from tests.runtime.sites.inline import hosted

DAY = datetime(2026, 1, 1)


class Paid(Event, key="card"):
    card: str
    amount: float
    at: datetime


class Scored(Event, key="card"):
    card: str
    score: float


class Spending(View[Paid], at="at"):
    count_1d = Count(window=days(1))
    total = Sum("amount")


class Scores(View[Scored]):
    total = Sum("score")
    last = Last("score")


@component
class Scorer:
    spending: Spending
    seen: Table[float]

    @on(Paid)
    async def score(self, paid: Paid) -> Scored:
        before = await self.spending.of(paid.card, paid.at)
        await self.seen.put(paid.card, before.total)
        return Scored(paid.card, before.total + before.count_1d)


@component
class Judge:
    scores: Scores
    judged: Table[float]

    @on(Scored)
    async def judge(self, scored: Scored) -> None:
        known = await self.scores.of(scored.card)
        await self.judged.put(scored.card, known.total)


app = App("shop", Spending, Scores, Scorer, Judge)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY", 64)
    monkeypatch.setattr(checkpoints, "LEAST", 5)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the positions that are read from a log, one after the other."""
    positions: list[int] = []
    reading = SqliteLog.read

    async def noted(self: SqliteLog, position: int = 0, limit: int = 1000) -> Any:
        found = await reading(self, position, limit)
        positions.extend(entry.position for entry in found)
        return found

    monkeypatch.setattr(SqliteLog, "read", noted)
    return positions


async def opened(folder: Path, of: App = app) -> Host:
    host = build(of, "modular-monolith", folder, Options(ticks=False))
    await host.start()
    return host


async def feed(host: Host, numbers: range) -> None:
    for number in numbers:
        moment = DAY + timedelta(hours=(number * 7) % 50)  # many come late
        await host.publish(Paid(f"c{number % 9}", number / 10, moment), Input(at=moment))
    await host.settled()


async def contents(folder: Path, of: App = app) -> Any:
    host = await opened(folder, of)
    found = await host.site.contents()
    await host.close()
    return found.tables, found.views


def bare(folder: Path) -> None:
    for name in NAMES:
        for file in folder.glob(f"{Path(name).stem}.*"):
            file.unlink()


async def test_a_start_reads_the_end_of_the_log_only(tmp_path: Path, read: list[int]) -> None:
    host = await opened(tmp_path)
    await feed(host, range(200))
    await host.drain()
    read.clear()
    one = await contents(tmp_path)
    assert len(read) < 10
    shutil.copytree(tmp_path, tmp_path / "again")
    bare(tmp_path / "again")
    assert await contents(tmp_path / "again") == one
    assert len(read) > 400


async def test_a_host_that_is_killed_has_what_it_kept_while_serving(tmp_path: Path, read: list[int]) -> None:
    host = await opened(tmp_path / "one")
    for start in range(0, 300, 50):
        await feed(host, range(start, start + 50))
    keeper = host.site.keeper
    assert keeper is not None
    while (kept := keeper.kept) is None or kept.number < 2:
        await feed(host, range(300, 310))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    await feed(host, range(400, 410))
    await host.close()
    read.clear()
    two = await contents(tmp_path / "two")
    few = len(read)
    bare(tmp_path / "two")
    assert await contents(tmp_path / "two") == two
    assert few < len(read) // 2


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
async def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    host = await opened(tmp_path)
    await feed(host, range(200))
    await host.drain()
    shutil.copytree(tmp_path, tmp_path / "whole")
    for name in NAMES:
        file = tmp_path / name
        if damage == "gone":
            file.unlink()
        elif file.exists():
            data = bytearray(file.read_bytes())
            data[len(data) // 2 :] = (
                data[len(data) // 2 : -5000] if damage == "cut" else data[len(data) // 2 :]
            )
            for place in range(200, len(data), 4096):
                data[place] ^= 1
            file.write_bytes(bytes(data))
    with caplog.at_level(logging.WARNING):
        found = await contents(tmp_path)
    assert "passed over" in caplog.text
    bare(tmp_path / "whole")
    assert found == await contents(tmp_path / "whole")


async def test_a_view_that_has_changed_is_rebuilt_and_the_others_are_not(tmp_path: Path) -> None:
    host = await opened(tmp_path)
    await feed(host, range(100))
    await host.drain()

    class Scores(View[Scored]):
        total = Sum("score")
        last = Last("score")
        count = Count()

    @component
    class Judge:
        scores: Scores
        judged: Table[float]

        @on(Scored)
        async def judge(self, scored: Scored) -> None:
            known = await self.scores.of(scored.card)
            await self.judged.put(scored.card, known.total)

    newer = App("shop", Spending, Scores, Scorer, Judge)
    host = await opened(tmp_path, newer)
    await feed(host, range(100, 120))
    await host.drain()
    again = await contents(tmp_path, newer)
    bare(tmp_path)
    assert await contents(tmp_path, newer) == again


async def test_a_checkpoint_of_another_log_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder, first in ((tmp_path / "one", 0), (tmp_path / "two", 7)):
        host = await opened(folder)
        await feed(host, range(first, first + 50))
        await host.drain()
    for name in NAMES:
        if (tmp_path / "two" / name).exists():
            shutil.copy(tmp_path / "two" / name, tmp_path / "one" / name)
    with caplog.at_level(logging.WARNING):
        found = await contents(tmp_path / "one")
    assert "the log does not have the entry" in caplog.text
    bare(tmp_path / "one")
    assert found == await contents(tmp_path / "one")


async def test_units_apart_get_the_kept_state_and_the_end_of_the_log(tmp_path: Path, read: list[int]) -> None:
    options = Options(ticks=False, kept=Checkpoints(tmp_path, "process"))
    host, wire = hosted(app, tmp_path, options=options)
    await host.start()
    await feed(host, range(150))
    await host.close()
    for unit in list(wire.served):
        await wire.take_down(unit)
    read.clear()
    options = Options(ticks=False, kept=Checkpoints(tmp_path, "process"))
    host, wire = hosted(app, tmp_path, options=options)
    await host.start()
    await feed(host, range(150, 160))
    found = await host.site.contents()
    assert len(read) < 50
    await wire.take_down("Scores", back=True)  # a new replica, while serving
    await feed(host, range(160, 200))
    found = await host.site.contents()
    await host.close()
    whole = await opened(tmp_path / "whole")
    await feed(whole, range(200))
    expected = await whole.site.contents()
    await whole.close()
    assert (found.tables, found.views) == (expected.tables, expected.views)


async def test_a_view_is_rebuilt_while_events_keep_coming(tmp_path: Path) -> None:
    host = await opened(tmp_path / "one")
    await feed(host, range(300))
    before = (await host.site.contents()).views
    assert isinstance(host.site, Here)
    told: list[tuple[int, int]] = []
    spending = host.site.wiring.views["Spending"]
    spending._running["c1"].states[0] += 1000  # as a view whose code was wrong
    work = asyncio.ensure_future(host.site.rebuild("Spending", lambda *place: told.append(place)))
    number = 300
    while not work.done():
        await feed(host, range(number, number + 1))
        number += 1
    await work
    assert told[-1][0] == told[-1][1]
    assert before != (await host.site.contents()).views
    await feed(host, range(number, number + 5))
    await host.drain()
    kept = await contents(tmp_path / "one")
    bare(tmp_path / "one")
    assert await contents(tmp_path / "one") == kept
    assert number > 300
