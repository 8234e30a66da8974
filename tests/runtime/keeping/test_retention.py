"""Old entries leave the log, and nothing else does: views answer as before, and what cannot be rebuilt is refused."""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from allotrope import App, Count, Event, Last, PlanRefused, Refused, Sum, Table, View, component, days, on
from allotrope.compose import build, document
from allotrope.evidence.archive.names import Archive
from allotrope.logs.sqlite import SqliteLog
from allotrope.runtime.host import Host
from allotrope.runtime.keeping import checkpoints
from allotrope.runtime.options import Input, Options
from allotrope.storage.checkpoints import NAMES

NOW = datetime(2026, 6, 1)
BASE = 'base = "modular-monolith"\n'
KEEP = f'{BASE}[log]\nkeep = "2d"\n'


class Paid(Event, key="card"):
    card: str
    amount: float
    at: datetime


class Limit(Event, key="card"):
    card: str
    most: float


class Spending(View[Paid], at="at"):
    count_30d = Count(window=days(30))
    total = Sum("amount")


class Limits(View[Limit]):
    most = Last("most")


@component
class Scorer:
    spending: Spending
    limits: Limits
    seen: Table[float]

    @on(Paid)
    async def score(self, paid: Paid) -> None:
        before, limit = await self.spending.of(paid.card, paid.at), await self.limits.of(paid.card)
        await self.seen.put(paid.card, before.total + (limit.most or 0))


app = App("shop", Spending, Limits, Scorer)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "LEAST", 5)


class Place:
    """A folder with its topology, and a watch that the test sets."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder, self.file = folder / "app", folder / "layout.toml"
        self.file.write_text(text, "utf-8")
        self.days = 0

    async def opened(self, of: App = app, **options: Any) -> Host:
        now = lambda: time.time_ns() // 1000 + self.days * 86_400_000_000  # noqa: E731
        host = build(of, str(self.file), self.folder, Options(ticks=False, now=now, **options))
        try:
            await host.start()
        except Refused:
            await host.close()
            raise
        return host

    async def lived(self, numbers: range, of: App = app, **options: Any) -> Any:
        """Have one life of a host, with some inputs; return what it has at its end."""
        host = await self.opened(of, **options)
        for number in numbers:
            moment = NOW + timedelta(hours=number)
            await host.publish(Paid(f"c{number % 4}", number / 10, moment), Input(at=moment))
            await host.publish(Limit(f"c{number % 4}", float(number)), Input(at=moment))
        await host.settled()
        found = await host.site.contents()
        await host.drain()
        return found.tables, found.views

    async def kept(self) -> list[tuple[str, int]]:
        log = SqliteLog(self.folder, partitions=16)
        found = [(entry.envelope.kind, entry.position) for entry in await log.read(0, 10_000)]
        await log.close()
        return found


@pytest.fixture
def places(tmp_path: Path) -> tuple[Place, Place]:
    """Return one place that forgets, and one that keeps everything."""
    for name in "ab":
        (tmp_path / name).mkdir()
    return Place(tmp_path / "a", KEEP), Place(tmp_path / "b", BASE)


async def test_what_is_old_and_kept_elsewhere_leaves_the_log(places: tuple[Place, Place]) -> None:
    place, forever = places
    for first in (0, 20, 40):
        place.days += 10
        assert await place.lived(range(first, first + 20)) == await forever.lived(range(first, first + 20))
    assert await place.lived(range(60, 70)) == await forever.lived(range(60, 70))
    kept = await place.kept()
    assert len(kept) < len(await forever.kept()) - 40
    assert ("/version", 1) in kept


async def test_one_checkpoint_is_not_enough_to_forget(places: tuple[Place, Place]) -> None:
    place, _ = places
    place.days = 100
    await place.lived(range(20))
    assert len(await place.kept()) == 41


async def forgotten(place: Place) -> None:
    for first in (0, 20, 40):
        place.days += 10
        await place.lived(range(first, first + 20))


async def test_a_lost_checkpoint_is_refused_and_may_be_given_up(places: tuple[Place, Place]) -> None:
    place, _ = places
    await forgotten(place)
    whole = await place.lived(range(0))
    one, two = (place.folder / name for name in NAMES)
    held = one.read_bytes()
    one.write_bytes(held[:4096] + bytes(8192) + held[12288:])
    assert await place.lived(range(0)) == whole  # the other one has it as well
    for file in (one, two):
        data = bytearray(file.read_bytes())
        data[100::4096] = bytes(255 - byte for byte in data[100::4096])
        file.write_bytes(bytes(data))
    with pytest.raises(Refused, match=r"Spending would lack \d+ Paid.*APP Limits Spending --accept-loss"):
        await place.opened()
    assert await place.lived(range(0), accepted=frozenset(("Spending", "Limits"))) != whole


async def test_a_view_that_has_changed_is_refused_and_the_others_keep_what_they_have(
    places: tuple[Place, Place],
) -> None:
    place, _ = places
    await forgotten(place)
    _, views = await place.lived(range(0))

    class Spending(View[Paid], at="at"):
        count_30d = Count(window=days(30))
        total = Sum("amount")
        count = Count()

    @component
    class Scorer:
        spending: Spending
        limits: Limits
        seen: Table[float]

        @on(Paid)
        async def score(self, paid: Paid) -> None:
            await self.seen.put(paid.card, (await self.spending.of(paid.card, paid.at)).total)

    newer = App("shop", Spending, Limits, Scorer)
    with pytest.raises(Refused, match="Spending would lack") as refused:
        await place.opened(newer)
    assert "Limits would" not in str(refused.value)
    _, after = await place.lived(range(0), newer, accepted=frozenset(("Spending",)))
    assert after["Limits"] == views["Limits"]
    assert after["Spending"] != views["Spending"]
    await place.lived(range(60, 80), newer)  # what was accepted once is not asked again


async def test_of_a_compacted_topic_the_newest_of_each_key_stays(tmp_path: Path) -> None:
    place = Place(tmp_path, f'{BASE}[topic.Limit]\nvia = "log"\ncompact = true\n')
    await forgotten(place)
    kinds = [kind for kind, _ in await place.kept()]
    assert (kinds.count("Paid"), kinds.count("Limit") < 40) == (60, True)
    whole = await place.lived(range(0))
    for name in NAMES:
        for file in place.folder.glob(f"{Path(name).stem}.*"):
            file.unlink()
    assert await place.lived(range(0), accepted=frozenset(("Limits",))) == whole


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[log]\nkeep = "2 days"', "log has keep = '2 days'; write hours, days or weeks: \"30d\""),
        ('[log]\nkeep = "3h"', '"1d" is the least'),
        (
            '[topic.Paid]\nvia = "log"\ncompact = true',
            "view Spending adds it up: `count_30d` needs every event",
        ),
        ('[topic.Limit]\nvia = "log"\ncompact = true\nkeep = "3d"', "both keep and compact"),
        (
            'durability = "none"\n[log]\nkeep = "3d"\n[topic."*"]\nvia = "memory"',
            "there is no log to remove from",
        ),
    ],
)
def test_what_would_remove_what_is_needed_is_refused(tmp_path: Path, text: str, said: str) -> None:
    place = Place(tmp_path, BASE + text + "\n")
    with pytest.raises(PlanRefused) as refused:
        build(app, document(str(place.file)), place.folder)
    assert said in str(refused.value)


async def test_a_name_that_has_left_the_log_is_told_so(places: tuple[Place, Place]) -> None:
    place, _ = places
    await forgotten(place)
    archive = Archive(place.folder)
    try:
        assert archive.history.events(3) == []
        assert "have left the log" in archive.history.removed(3)
        assert archive.history.removed(119) == ""
        with pytest.raises(Refused, match="entries of finished inputs have left the log"):
            archive.find("no such thing")
    finally:
        archive.close()
