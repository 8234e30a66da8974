"""Canaries: who meets the newer release, how many do, and what happens to those who die while both are there."""

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from allotrope.cli.fleet.roll import roll
from allotrope.cli.fleet.scale import scale
from allotrope.engines.processes.lines import Canary, Directory, Lines, Replica, server
from allotrope.kernel import codec
from allotrope.kernel.calls import LAST_ORIGIN
from allotrope.kernel.errors import Refused
from allotrope.runtime.sites.wire import Address, Letter, Question, Served, Sought
from allotrope.transports.frames.security import Key
from tests.engines.processes.kiosk import app
from tests.engines.processes.shift import SPLIT, Shift, shift

KEYS = [f"customer {number}" for number in range(10_000)]
WEIGHED = SPLIT.replace("[2, 2]", "[1, 1]") + "[gateway.canary]\nPrices = 0.5\nDesk = 1.0\n"


def question(key: str = "", request: str = "", origin: int = LAST_ORIGIN) -> Letter:
    asked = Question("Desk.quote", "", "", origin, "", 0, "", request, "", 0, b"", key)
    return Letter(codec.encode(asked))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_a_share_of_keys_and_of_requests_is_near_the_weight(share: float) -> None:
    canary = Canary("Desk", 2, share)
    for met in ([canary.meets(key, "") for key in KEYS], [canary.meets("", key) for key in KEYS]):
        assert abs(sum(met) / len(KEYS) - share) < 0.015
    assert abs(sum(canary.meets("", "") for _ in KEYS) / len(KEYS) - share) < 0.03  # nobody tells them apart
    more = Canary("Desk", 2, min(share + 0.05, 0.99))
    assert all(more.meets(key, "") for key in KEYS if canary.meets(key, ""))  # nobody goes back and forth


@given(some.floats(0.001, 0.999), some.integers(2, 64))
def test_where_something_writes_a_share_is_of_whole_partitions(share: float, partitions: int) -> None:
    canary = Canary("Desk", 2, share, partitions)
    assert 1 <= canary.taken <= partitions - 1
    assert abs(canary.taken - share * partitions) <= 1
    assert not Canary("Desk", 2, share, 1).taken


async def test_a_letter_goes_to_the_release_that_its_key_meets(tmp_path: Path) -> None:
    key, lines, answering = Key.create(tmp_path / "key"), None, []

    def named(name: str) -> Served:
        async def answer(letter: Letter, left: float | None) -> Letter:
            return Letter(name.encode())

        return Served({"ask": answer, "read": answer}, {})

    replicas = {}
    lines = Lines(key)
    try:
        for name, release in (("old", 1), ("older", 1), ("new", 2)):
            listening = server([named(name)], key)
            await listening.listen(f"unix:{tmp_path / name}")
            answering.append(listening)
            replicas[name] = Replica(name, "Desk", f"unix:{tmp_path / name}", ready=True, release=release)
        canary = Canary("Desk", 2, 0.3, 16)
        lines.update(Directory(1, tuple(replicas.values()), canaries=(canary,)))
        call = partial(lines.call, Address("Desk"))

        async def met(method: str, letter: Letter) -> str:
            return bytes((await call(method, letter)).body).decode()

        for name in KEYS[:50]:
            new = canary.meets(name, "")
            assert ((await met("ask", question(name, "any"))) == "new") == new
            assert ((await met("read", Letter(codec.encode(Sought("V", name))))) == "new") == new
            by_request = canary.meets("", name)
            assert ((await met("ask", question(request=name))) == "new") == by_request
        assert {await met("ask", question(origin=7)) for _ in range(4)} in ({"new"}, {"old", "older"})
        for left in (("old", "older"), ("new",)):  # who is there answers for all
            there = tuple(replicas[name] for name in left)
            lines.update(Directory(lines.directory.version + 1, there, canaries=(canary,)))
            assert {await met("ask", question(name)) for name in KEYS[:20]} == {*left}
        taking = Canary("Desk", 2, 1.0, 16)
        lines.update(Directory(lines.directory.version + 1, tuple(replicas.values()), canaries=(taking,)))
        assert {await met("ask", question("one key")) for _ in range(9)} == {*replicas}
    finally:
        lines.close()
        for listening in answering:
            await listening.close()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def rolled(it: Shift, unit: str = "", **how: Any) -> None:
    await asyncio.to_thread(partial(roll, unit, folder=it.folder, **how))


async def places(it: Shift, unit: str) -> dict[str, int]:
    """Return the release of each place of a unit."""
    return {p.name.rpartition(".")[0]: p.release for p in await it.processes(unit)}


async def test_a_declared_share_makes_each_roll_begin_with_a_canary(tmp_path: Path) -> None:
    async with shift(tmp_path, WEIGHED) as it, it.busy():
        await rolled(it)
        assert await places(it, "Prices") == {"Prices-1": 1, "Prices-101": 2}
        assert await places(it, "Desk") == {"Desk-1": 2}
        with pytest.raises(Refused, match="has a canary"):
            await rolled(it, "Prices")
        await asyncio.to_thread(scale, "Prices", 3, folder=it.folder)
        await rolled(it, "Prices", canary=0.6)
        await it.until(lambda there: len(there) == 5, "Prices")
        assert sorted((await places(it, "Prices")).values()) == [1, 1, 1, 2, 2]
        await rolled(it, promote=True)
        assert await places(it, "Prices") == dict.fromkeys(("Prices-1", "Prices-2", "Prices-3"), 2)
        await it.answered(it.quotes)
        assert it.failures == []


async def test_a_unit_that_is_not_forked_says_what_becomes_of_its_older_release(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = '[unit.Prices]\ncomponents = ["Prices"]\ncpu = 2.0\n'
    async with shift(tmp_path, SPLIT.replace("[2, 2]", "[1, 1]") + alone) as it:
        await rolled(it, "Prices", canary=0.5)
        assert "an older one that ends comes back with the code that is there" in capsys.readouterr().out
        (old,) = [p for p in await it.processes("Prices") if p.release == 1]
        os.kill(old.pid, signal.SIGKILL)
        await it.until(lambda there: sorted(p.release for p in there) == [2, 2], "Prices")
        await rolled(it, "Prices", undo=True)
        assert "Prices-1.2 came up while it ran, with its code" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked elsewhere")
async def test_code_that_is_gone_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with shift(tmp_path, SPLIT.replace("[2, 2]", "[1, 1]")) as it:
        await rolled(it, "Books", canary=0.5)
        (old,) = [p for p in await it.processes("Books") if p.release == 1]
        os.kill(parent(old.pid), signal.SIGKILL)  # what had imported it
        await it.until(lambda there: sorted(p.release for p in there) == [2, 2], "Books")
        assert "release 1 cannot be forked any more" in caplog.text
        async with it.busy():
            await it.answered(0)
        await it.settled()
    assert app.name == "kiosk"
