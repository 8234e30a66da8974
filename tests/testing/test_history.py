"""The checker finds what was planted in a real log, ledger, site or view, under its right name, and else nothing."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from allotrope import App, Refused, Table, component, on
from allotrope.compose import build, document, planned
from allotrope.logs.sqlite import DAY, SqliteLog
from allotrope.runtime.doors.redrive import redrive_of
from allotrope.runtime.effects.ended import Child
from allotrope.runtime.flows import Flights, Flow
from allotrope.runtime.host import Host
from allotrope.runtime.lanes import Lane
from allotrope.runtime.options import Input, Options
from allotrope.runtime.routes import Delivery
from allotrope.runtime.sites.here import Here
from allotrope.runtime.sites.site import Joint
from allotrope.storage.ports import Commit, Entry, Envelope
from allotrope.stores.sqlite import SqliteLedger
from allotrope.testing.history import Act, Diary, History, examined, marks_of
from allotrope.transports.direct import direct
from tests.faults.bank import Deposit, Deposits, app
from tests.faults.branch import LEADS, Life


class EarlyLog(SqliteLog):
    """Acknowledges before it has written: what it still holds goes with its process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._held: list[Envelope] = []
        self._known: dict[str, Entry] = {}

    async def append(self, inputs: Sequence[Envelope]) -> list[Entry]:
        entries = []
        for given in inputs:
            if given.request not in self._known:
                self._held.append(given)
                number = len(self._known) + 1
                self._known[given.request] = Entry(number, 0, given.accepted(number))
            entries.append(self._known[given.request])
        if len(self._held) >= 8:
            held, self._held = self._held, []
            await super().append(held)
        return entries


class ForgetfulLog(SqliteLog):
    """Does not know a request that comes a second time."""

    _days = 0

    async def append(self, inputs: Sequence[Envelope]) -> list[Entry]:
        self._days += 1
        return await super().append([replace(given, at=given.at + self._days * DAY) for given in inputs])


class LeakyLedger(SqliteLedger):
    """Loses the outbox of every fifth effect."""

    _count = 0

    async def commit(self, effect: Commit) -> bool:
        self._count += 1
        return await super().commit(effect if self._count % 5 else replace(effect, outbox=()))


class NoLanes(Flights):
    """Lets nobody wait for those of the same key."""

    def blocking(self, flow: Flow, delivery: Delivery) -> Lane[int] | None:
        return None


class Laneless(Here):
    """Takes a delivery whenever it likes, as its host has no lanes."""

    def join(self, joint: Joint) -> None:
        joint.flights.__class__ = NoLanes
        super().join(joint)
        chance, real = Random(1), self.take

        async def take(flow: Flow, delivery: Delivery) -> list[Child]:
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            return await real(flow, delivery)

        self.take = take


class Overtaking(Here):
    """Parks every seventh deposit of some accounts, and does not have what follows wait."""

    def join(self, joint: Joint) -> None:
        super().join(joint)
        real, self.aside = self.take, set[tuple[str, int]]()

        async def take(flow: Flow, delivery: Delivery) -> list[Child]:
            given = delivery.value
            if delivery.envelope.kind != "Deposit" or given.account[0] == "b" or given.number % 7 != 1:
                return await real(flow, delivery)
            if (given.account, given.number) not in self.aside:
                self.aside.add((given.account, given.number))
                return []
            return await real(flow, delivery)

        self.take = take


class Lagging(Here):
    """Its views see an event only when three more have come."""

    def join(self, joint: Joint) -> None:
        super().join(joint)
        for view in self.wiring.views.values():
            held: list[tuple[Any, ...]] = []
            real = view.add

            def add(
                *given: Any, held: list[tuple[Any, ...]] = held, real: Callable[..., None] = real
            ) -> None:
                held.append(given)
                if len(held) > 3:
                    real(*held.pop(0))

            view.add = add  # type: ignore[method-assign]


@dataclass
class Parts:
    """What a host is made of, sound where nothing is said."""

    log: type[SqliteLog] = SqliteLog
    ledger: type[SqliteLedger] = SqliteLedger
    site: type[Here] = Here
    names: set[str] = field(default_factory=set)


PLANTED = {
    "nothing": Parts(),
    "ack before commit": Parts(log=EarlyLog, names={"lost"}),
    "lost outbox": Parts(ledger=LeakyLedger, names={"dropped"}),
    "no dedup": Parts(log=ForgetfulLog, names={"doubled"}),
    "no key lane": Parts(site=Laneless, names={"reordered"}),
    "redrive out of order": Parts(site=Overtaking, names={"overtaken"}),
    "stale projection": Parts(site=Lagging, names={"stale"}),
}
# What else cannot but be seen then: reads of what is not as it should be.
FOLLOWS = {"stale", "G1c", "G-single-realtime"}


def opened(folder: Path, parts: Parts) -> Host:
    """A host made of these parts."""
    made, options = planned(app, document("modular-monolith")), Options(ticks=False)
    ledger = parts.ledger(folder)
    return Host(made, parts.log(folder), parts.site(made, ledger, {"call": direct}, options), options)


async def watch(life: Life, account: str) -> None:
    """Deposit, and look at once how many deposits there are."""
    for number in range(12):
        with life.diary.act(account, (account, str(number))):
            await life.host.publish(Deposit(account, number), Input(request=f"{account}/{number}"))
        with life.diary.act(account) as reads:
            count = (await life.host.of(Deposits).of(account)).count
            reads[account] = tuple(map(str, range(count)))


async def repeat(life: Life) -> None:
    """Send some once more under their request ids, as who has not heard the answer."""
    for number in range(0, 20, 5):
        with life.diary.act("c0", ("a0", str(number))) as reads:
            await life.send(0, number, reads)


async def lived(folder: Path, parts: Parts) -> History:
    """What clients saw of a host that ends at once, and what a sound one finds there."""
    host = opened(folder, parts)
    await host.start()
    life = Life(host, folder, "")
    await asyncio.gather(*map(life.client, range(4)), *(watch(life, f"b{n}") for n in range(2)))
    await repeat(life)
    aside: set[tuple[str, int]] = getattr(host.site, "aside", set())
    for account, number in sorted(aside):
        await host.publish(Deposit(account, number))
    await host.settled()
    await host.close()
    sound = opened(folder, Parts())
    await sound.start()
    end = await Life(sound, folder, "").end()
    await sound.close()
    parked = frozenset((account, str(number)) for account, number in aside)
    return History(life.diary.acts, end.marks, LEADS, parked)


@pytest.mark.parametrize("bug", PLANTED)
async def test_what_is_planted_is_found_by_its_name(
    tmp_path: Path, bug: str, note: Callable[[str], None]
) -> None:
    parts = PLANTED[bug]
    found = examined(await lived(tmp_path, parts))
    names = {finding.name for finding in found}
    assert names - FOLLOWS == parts.names - FOLLOWS, found
    assert names >= parts.names
    assert bug != "nothing" or not found
    note(f"planted: {bug}; found: {dict(Counter(finding.name for finding in found))}")


def act(value: str, began: float = 0, end: str = "ok", client: str = "a", read: str | None = None) -> Act:
    """One act about the key k, that takes a second."""
    return Act(
        client=client, began=began, ended=began + 1 if end == "ok" else float("inf"), end=end,  # type: ignore[arg-type]
        appends=(("k", value),) if value else (), reads=() if read is None else (("k", tuple(read)),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("acts", "rows", "names"),
    [
        ([act("1"), act("2", 2)], "12", []),
        ([act("1"), act("2", 2)], "1", ["lost"]),
        ([act("1"), act("2", 2)], "21", ["reordered"]),
        ([act("1"), act("2", 0.5)], "21", []),  # they overlap
        ([act("1"), act("2", 2, "unknown")], "1", []),
        ([act("1"), act("2", 2, "unknown")], "12", []),
        ([act("1"), act("2", 2, "fail")], "12", ["phantom"]),
        ([act("1", 0, "fail"), act("1", 2)], "1", []),  # sent again
        ([act("1")], "19", ["phantom"]),
        ([act("1")], "11", ["doubled"]),
        ([act("1"), act("", 2, read="1")], "1", []),
        ([act("1"), act("", 2, client="b", read="")], "1", ["stale"]),
        ([act("1"), act("", 0.5, client="b", read="1"), act("", 0.7, client="b", read="")], "1", ["stale"]),
        (
            [act("1", 0, "unknown"), act("1", 3, read=""), act("2", 2, read="1")],
            "12",
            [],
        ),  # an answer of before
    ],
)
def test_what_is_found_in_a_small_history(acts: list[Act], rows: str, names: list[str]) -> None:
    found = examined(History(acts, marks_of("rows", {"k": rows})), but=("cycles",))
    assert [finding.name for finding in found] == names, found


def test_a_value_that_does_not_come_further_is_named_with_its_place() -> None:
    marks = [*marks_of("rows", {"k": "123"}), *marks_of("mail", {"k": "13"})]
    (found,) = examined(History([act(value) for value in "123"], marks, {"rows": ("mail",)}))
    assert str(found).startswith("dropped: '2' of 'k' (a: k+2, ")
    assert "is in `rows` at 1 and has not come to `mail`" in str(found)


def test_a_diary_outlives_its_process(tmp_path: Path) -> None:
    lines: list[bytes] = []
    diary = Diary(lines.append, iter(range(9)).__next__)
    with diary.act("a", ("k", "1")) as reads:
        reads["k"] = ["0"]
    with pytest.raises(Refused), diary.act("a", ("k", "2")):
        raise Refused("full")
    with pytest.raises(OSError, match="gone"), diary.act("b", ("k", "3")):
        raise OSError("gone")
    assert Diary.read(lines) == diary.acts
    assert [(each.end, each.ended) for each in diary.acts] == [
        ("ok", 1),
        ("fail", 3),
        ("unknown", float("inf")),
    ]
    begun = Diary.read([*lines[:3], lines[3][:20]])
    assert [each.end for each in begun] == ["ok", "unknown"]


BROKEN: set[int] = set()


@component
class Fussy:
    """Fails for what is broken."""

    rows: Table[tuple[int, ...]]

    @on(Deposit)
    async def take(self, given: Deposit) -> None:
        if given.number in BROKEN:
            raise ValueError(given.number)
        await self.rows.put(given.account, (*(await self.rows.get(given.account) or ()), given.number))


async def test_a_redrive_in_order_is_sound(tmp_path: Path) -> None:
    BROKEN.add(3)
    host, diary = build(App("fussy", Fussy), "modular-monolith", tmp_path), Diary()
    await host.start()
    for number in range(8):
        for key in "ab" if number != 3 else "a":
            with diary.act("c", (key, str(number))):
                await host.publish(Deposit(key, number))
    await host.settled()
    rows = {key: row async for key, row in host.wiring.instances["Fussy"][0].rows.items()}
    assert rows == {"a": (0, 1, 2), "b": (0, 1, 2, 4, 5, 6, 7)}
    BROKEN.clear()
    await host.tell(redrive_of("Fussy").title, ("a", "deliver", -1, ()))
    await host.settled()
    rows = {key: row async for key, row in host.wiring.instances["Fussy"][0].rows.items()}
    await host.close()
    parked = frozenset(("a", str(number)) for number in range(3, 8))
    assert examined(History(diary.acts, marks_of("rows", rows), {}, parked)) == []
