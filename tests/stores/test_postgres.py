"""What only the ledger in PostgreSQL meets: others that share it, others that must not, and sessions that end."""

import asyncio
import re
import secrets
from collections.abc import Callable, Iterator

import pytest

from allotrope.kernel.errors import Refused
from allotrope.storage.ports import Commit, Envelope, Fenced, Overtaken
from allotrope.stores import postgres
from allotrope.stores.postgres import PostgresLedger, Schema
from tests import servers

EVENT = Envelope("E", "k", b"", 1, 1, "/p")
Opening = Callable[..., PostgresLedger]
pytestmark = pytest.mark.service


@pytest.fixture
def name() -> Iterator[str]:
    name = f"t{secrets.token_hex(4)}"
    yield name
    servers.dropped([name])


@pytest.fixture
def opening(name: str) -> Iterator[Opening]:
    url, opened = servers.postgres(), list[PostgresLedger]()

    def make(**options: object) -> PostgresLedger:
        opened.append(PostgresLedger(Schema(url, f"here {name}", f"allotrope_{name}"), "power", **options))  # type: ignore[arg-type]  # given by the tests
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


async def test_who_has_read_what_another_changed_runs_again(opening: Opening) -> None:
    one, other = opening(shared=True), opening(shared=True)
    mark = one.mark()
    assert await other.commit(Commit("B.on", 1, "", (("t", "a", b"1"),)))
    for reads in ((("t", "a"),), (("t", None),)):
        with pytest.raises(Overtaken):
            await one.commit(Commit("A.on", 2, "", (("t", "b", b"2"),), reads=reads, mark=mark))
    assert await one.commit(
        Commit("A.on", 2, "", (("t", "b", b"2"),), reads=(("t", "c"), ("u", None)), mark=mark)
    )
    assert list(other.scan("t")) == [("a", b"1"), ("b", b"2")]


async def test_who_has_lost_its_lease_commits_nothing(opening: Opening) -> None:
    one, other = opening(shared=True), opening(shared=True)
    await one.claim({3: 1})
    assert await one.commit(Commit("A.on", 1, "", lease=(3, 1)))
    await other.claim({3: 2})
    with pytest.raises(Fenced, match="partition 3 is another's now"):
        await one.commit(Commit("A.on", 2, "", (("t", "a", b"late"),), lease=(3, 1)))
    with pytest.raises(Fenced, match="held under a later epoch than 1"):
        await one.claim({3: 1})
    assert (one.get("t", "a"), await other.commit(Commit("A.on", 2, "", lease=(3, 2)))) == (None, True)


async def test_numbers_and_floors_are_of_all_processes(opening: Opening) -> None:
    one, other = opening(shared=True), opening(shared=True)
    for origin, ledger in enumerate((one, other, one, other), 1):
        await ledger.commit(Commit("A.on", origin, "", outbox=(EVENT,)))
    assert [number for number, _ in one.outbox()] == [1, 2, 3, 4]
    one.finish(4)
    await one.commit(Commit("A.on", 5, ""))
    assert await other.commit(Commit("B.on", 2, "")) is False


@pytest.mark.parametrize(("first", "second"), [(False, False), (False, True), (True, False)])
def test_one_that_is_not_shared_lets_nobody_in(
    opening: Opening, monkeypatch: pytest.MonkeyPatch, *, first: bool, second: bool
) -> None:
    monkeypatch.setattr(postgres, "HELD_S", 0.2)
    opening(shared=first)
    with pytest.raises(Refused, match="in use by another process"):
        opening(shared=second)


def test_it_belongs_to_one_app(opening: Opening) -> None:
    opening(owner="shop", shared=True)
    with pytest.raises(Refused, match=re.escape("is of the app `shop`; give `fraud` another `name`")):
        opening(owner="fraud", shared=True)


async def test_sessions_that_end_in_the_middle_lose_and_double_nothing(opening: Opening, name: str) -> None:
    ledger, done = opening(), 0

    async def client(number: int) -> None:
        nonlocal done
        for origin in range(1, 41):
            row = (f"{number}/{origin}", b"1")
            await ledger.commit(Commit(f"C{number}.on", origin, "", (("t", *row),), (EVENT,), record=b"r"))
            done += 1
            if done % 60 == 0:
                await asyncio.to_thread(servers.ended, [name])

    await asyncio.gather(*map(client, range(4)))
    assert len(list(ledger.scan("t"))) == len(list(ledger.records())) == 160
    assert [number for number, _ in ledger.outbox()] == list(range(1, 161))


def test_a_server_that_is_not_there_is_named() -> None:
    url = f"postgresql://postgres@127.0.0.1:{servers.free_port()}/test"
    with pytest.raises(Refused, match="here: not reached"):
        PostgresLedger(Schema(url, "here", "allotrope_x"))
