"""A table by hand is a dictionary; under a runtime its owner's operations write it, and nobody else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allotrope import App, Event, Message, Refused, Table, command, component, on, query
from allotrope.compose import build
from allotrope.kernel import codec
from allotrope.kernel.calls import Call, Effect, current

PRESETS = ["monolith", "modular-monolith", "loopback"]


class Row(Message):
    price: float


async def rows(table: Table[Any]) -> list[tuple[str, Any]]:
    return [row async for row in table.items()]


async def test_by_hand_it_is_a_dictionary() -> None:
    table: Table[Row] = Table()
    assert await table.get("a") is None
    await table.put("b", Row(2.0))
    await table.put("a", Row(1.0))
    await table.put("c", Row(3.0))
    await table.delete("c")
    await table.delete("never there")
    assert await table.get("b") == Row(2.0)
    assert await rows(table) == [("a", Row(1.0)), ("b", Row(2.0))]
    async for key, _ in table.items():
        await table.delete(key)
    assert await rows(table) == []


async def test_two_tables_share_nothing() -> None:
    one, other = Table[int](), Table[int]()
    await one.put("a", 1)
    assert await other.get("a") is None


@pytest.mark.parametrize("key", [5, None, b"a", ("a",), "half \ud800"])
async def test_a_key_that_is_not_text_is_refused(key: Any) -> None:
    """Memory would keep 5 and "5" apart, a file would not."""
    table: Table[int] = Table("Desk", "cases")
    for ask in (table.get(key), table.put(key, 1)):
        with pytest.raises(Refused, match=r"Desk\.cases: the key .* is not text; use str"):
            await ask


class Committed:
    """What a ledger holds, for one table."""

    def __init__(self, **held: Row) -> None:
        self.held = {key: codec.encode(row) for key, row in held.items()}

    def get(self, table: str, key: str) -> bytes | None:
        assert table == "Desk.cases"
        return self.held.get(key)

    def scan(self, table: str) -> Iterator[tuple[str, bytes]]:
        assert table == "Desk.cases"
        yield from sorted(self.held.items())


def desk(**held: Row) -> Table[Row]:
    return Table("Desk", "cases", Row, Committed(**held))


async def test_an_operation_sees_its_own_writes_above_committed_rows() -> None:
    table, effect = desk(a=Row(1.0), b=Row(2.0), c=Row(3.0)), Effect()
    token = current.set(Call("Desk", "decide", effect=effect))
    await table.put("b", Row(9.0))
    await table.put("d", Row(4.0))
    await table.delete("c")
    assert await table.get("b") == Row(9.0)
    assert await table.get("c") is None
    assert await rows(table) == [("a", Row(1.0)), ("b", Row(9.0)), ("d", Row(4.0))]
    current.reset(token)
    assert await table.get("b") == Row(2.0)
    assert await rows(table) == [("a", Row(1.0)), ("b", Row(2.0)), ("c", Row(3.0))]
    assert effect.writes == {
        ("Desk.cases", "b"): Row(9.0),
        ("Desk.cases", "d"): Row(4.0),
        ("Desk.cases", "c"): None,
    }


async def test_what_was_read_is_noted_and_own_writes_are_not() -> None:
    table, effect = desk(a=Row(1.0)), Effect()
    token = current.set(Call("Desk", "decide", effect=effect))
    await table.put("own", Row(2.0))
    await table.get("own")
    assert (effect.reads, effect.tape) == (set(), [])
    await table.get("a")
    await table.get("b")
    assert effect.reads == {("Desk.cases", "a"), ("Desk.cases", "b")}
    await rows(table)
    current.reset(token)
    assert effect.tape == [
        ("Desk.cases.get", ("a",), Row(1.0)),
        ("Desk.cases.get", ("b",), None),
        ("Desk.cases.items", (), (("a", Row(1.0)),)),
    ]
    assert effect.touches({("Desk.cases", "new")})


async def test_a_row_is_held_to_its_type() -> None:
    table, effect = desk(), Effect()
    token = current.set(Call("Desk", "decide", effect=effect))
    numbers: Table[float] = Table("Desk", "totals", float, Committed())
    await numbers.put("a", 1)
    with pytest.raises(Refused, match=r"Desk\.totals\['b'\]: nan is not a finite float"):
        await numbers.put("b", float("nan"))
    with pytest.raises(Refused, match=r"Desk\.cases\['a'\]: Expected `object`, got `str`"):
        await table.put("a", "row")  # type: ignore[arg-type]
    current.reset(token)
    assert repr(effect.writes) == "{('Desk.totals', 'a'): 1.0}"


@pytest.mark.parametrize("call", [None, Call("Desk", "look"), Call("Other", "decide", effect=Effect())])
async def test_nobody_but_its_owners_operations_writes_a_table(call: Call | None) -> None:
    token = current.set(call)
    for ask in (desk().put("a", Row(1.0)), desk().delete("a")):
        with pytest.raises(Refused, match="only a command or handler of Desk may write it; publish an event"):
            await ask
    current.reset(token)


class Put(Event, key="key"):
    key: str
    price: float


shared: list[Table[Row]] = []  # how a component may come by another's table, which `plan` cannot see


@component
class Owner:
    cases: Table[Row]

    @command(key="key")
    async def write(self, key: str, price: float) -> None:
        shared[:] = [self.cases]
        await self.cases.put(key, Row(price))

    @command(key="key")
    async def fail(self, key: str) -> None:
        await self.cases.put(key, Row(9.0))
        raise ValueError("after a write")

    @on(Put)
    async def take(self, put: Put) -> None:
        await self.cases.put(put.key, Row(put.price))

    @query
    async def look(self) -> tuple[tuple[str, Row], ...]:
        return tuple([row async for row in self.cases.items()])

    @query
    async def sneak(self) -> None:
        await shared[0].put("sneaked", Row(1.0))


@component
class Thief:
    @command(key="key")
    async def steal(self, key: str) -> None:
        await shared[0].put(key, Row(0.0))


@pytest.mark.parametrize("preset", PRESETS)
async def test_in_every_preset_only_the_owner_writes(preset: str, tmp_path: Path) -> None:
    host = build(App("shop", Owner, Thief), preset, tmp_path)
    await host.start()
    owner, thief = host.of(Owner), host.of(Thief)
    await owner.write("b", 1.5)
    await host.publish(Put("a", 2.5))
    await host.settled()
    with pytest.raises(Refused, match=r"Owner\.cases: only a command or handler of Owner may write it"):
        await owner.sneak()
    with pytest.raises(Refused, match=r"Owner\.cases: only a command or handler of Owner may write it"):
        await thief.steal("a")
    with pytest.raises(Exception, match="after a write"):
        await owner.fail("a")
    assert await owner.look() == (("a", Row(2.5)), ("b", Row(1.5)))
    await host.close()
