"""A recorded decision, computed again from its tape by the same code, by changed code, by another setting."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from allotrope import App, Event, Refused, component, on, query
from allotrope.compose import build
from allotrope.evidence.archive.history import History
from allotrope.evidence.archive.replay import Difference, Replayed, chosen, replayed
from allotrope.planning.documents import document_of
from allotrope.planning.plans import Plan, plan
from allotrope.runtime.host import Host
from allotrope.runtime.records import Record
from tests.cli import shop

DURABLE = (
    'durability = "process"\nreply = "effect"\n[unit.all]\ncomponents = ["*"]\n[topic."*"]\nvia = "log"\n'
)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def planned(app: App, settings: str = "") -> Plan:
    return plan(app, document_of(DURABLE + settings, "test.toml", lambda base: ""))


async def records(app: App, folder: Path, work: Callable[[Host], Awaitable[Any]]) -> list[Record]:
    """Let a durable host do some work, and return what it has decided."""
    host = build(app, planned(app), folder)
    await host.start()
    await work(host)
    await host.settled()
    assert await host.drain()
    history = History(folder)
    found = [record for origin in range(1, 10) for record in history.records(origin)]
    history.close()
    return found


async def sell(host: Host) -> None:
    for number, amount, customer in ((1, 10, "ann"), (2, 5, "ann"), (3, 13, "bob"), (4, 7, "new")):
        await host.publish(shop.Ordered(f"o{number}", customer, Decimal(amount), AT))
    await host.settled()
    till = host.of(shop.Till)
    await till.refund("o1")
    with pytest.raises(shop.NoReceipt):
        await till.refund("o9")


def places(result: Replayed) -> list[str]:
    return [difference.place for difference in result.differences]


async def test_every_decision_of_the_same_code_comes_out_the_same(tmp_path: Path) -> None:
    found = await records(shop.app, tmp_path, sell)
    again = [await replayed(planned(shop.app), record) for record in found]
    assert [(result.record.name, result.differences) for result in again if result.differences] == []
    titles = {result.record.title for result in again}
    assert titles == {"Till.price", "Till.print", "Till.refund"}
    assert len(again) == 4 + 3 + 2
    assert sum(bool(record.error) for record in found) == 2  # parked, and a declared fault
    assert any("Rates.rate!" in [what for what, _, _ in record.tape] for record in found)  # a caught fault


async def test_a_changed_setting_shows_field_by_field(tmp_path: Path) -> None:
    found = await records(shop.app, tmp_path, sell)
    (record,) = chosen([r for r in found if r.origin == 2], "", "Till.price")
    result = await replayed(planned(shop.app, '[setting]\n"Till.discount" = 3\n'), record)
    assert result.differences == (Difference("event #000 Priced.amount", "Decimal('5')", "Decimal('2')"),)


class Asked(Event, key="id"):
    id: str


class Told(Event, key="id"):
    id: str
    parts: tuple[int, ...]


def changed(variant: str) -> App:
    """An app whose code depends on `variant`, which stands for a change between two days."""

    @component
    class Source:
        @query
        async def value(self, name: str) -> int:
            return len(name)

    @component
    class Teller:
        source: Source

        @on(Asked)
        async def tell(self, asked: Asked) -> Told | None:
            try:
                first = await self.source.value("more" if variant == "other" else "one")
            except Exception:
                first = -1
            if variant == "fewer":
                return Told(asked.id, (first, 3))
            second = await self.source.value("two")
            if variant == "raises":
                raise ValueError("changed")
            if variant == "silent":
                return None
            if variant == "twice":
                second = await self.source.value("two")
            return Told(asked.id, (first, second if variant != "result" else 4))

    # A body's annotations are read again later, from the module: what is local must be found there.
    globals().update(Source=Source, Teller=Teller)
    return App("changed", Source, Teller)


CHANGES = {
    "same": [],
    "result": ["event #000 Told.parts[1]"],
    "other": ["read"],
    "fewer": ["read"],
    "twice": ["read"],
    "raises": ["error"],
    "silent": ["event #000", "answer"],
}


@pytest.mark.parametrize("variant", CHANGES)
async def test_what_changed_code_does_otherwise_is_named(tmp_path: Path, variant: str) -> None:
    async def ask(host: Host) -> None:
        await host.publish(Asked("a"))

    (record,) = await records(changed("same"), tmp_path, ask)
    result = await replayed(planned(changed(variant)), record)
    assert places(result) == CHANGES[variant]


async def test_an_unrecorded_question_says_what_is_on_the_tape(tmp_path: Path) -> None:
    async def ask(host: Host) -> None:
        await host.publish(Asked("a"))

    (record,) = await records(changed("same"), tmp_path, ask)
    (difference,) = (await replayed(planned(changed("other")), record)).differences
    assert "Source.value('more')" in difference.now
    assert "('one'), ('two')" in difference.now


async def test_an_app_that_has_lost_the_operation_is_refused(tmp_path: Path) -> None:
    found = await records(shop.app, tmp_path, sell)
    with pytest.raises(Refused, match=r"no operation `Till\.price`"):
        await replayed(planned(changed("same")), found[0])
