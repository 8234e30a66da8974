"""A canary of an app that is served: its share, who meets it, and what becomes of it, while clients sell and ask."""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest

from allotrope.cli.fleet.ps import sight
from allotrope.cli.fleet.roll import roll
from allotrope.engines.processes.control import Seen
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused
from allotrope.runtime.records import Record
from allotrope.storage.partitions import partition_of
from tests.launch.test_launch import exact, opened
from tests.launch.till import V1, Shop

OLD = V1.replace(
    "    @query\n    async def total",
    """    @query(key="shop")
    async def version(self, shop: str) -> int:
        return 1

    @query
    async def asked(self) -> int:
        return 1

    @query
    async def total""",
)
NEW = OLD.replace("return 1\n", "return 2\n")
OTHER = NEW.replace("async def total(self, shop: str) -> float", "async def total(self, shop: str) -> int")
RISEN = NEW.replace('Noted(Event, key="shop"', 'Noted(Event, key="shop", version=2, upcasts=(dict,)')
SHOPS = [f"x{number}" for number in range(60)]


async def asked(shop: Shop, query: str, arguments: list[dict[str, Any]]) -> list[int]:
    """Return the answers to a query, each of which is the version that gave it."""
    async with httpx.AsyncClient(base_url=shop.base, timeout=20) as http:
        answers = await asyncio.gather(*(http.post(f"/Till/{query}", json=each) for each in arguments))
    assert {answer.status_code for answer in answers} == {200}
    return [answer.json() for answer in answers]


async def unkeyed(shop: Shop) -> list[int]:
    """Return which version 200 requests without a key meet."""
    return await asked(shop, "asked", [{}] * 200)


async def versions(shop: Shop) -> list[int]:
    return await asked(shop, "version", [{"shop": name} for name in SHOPS])


def meets_new(name: str) -> bool:
    """Whether the key is in one of the last 4 of 16 partitions."""
    return partition_of(name, 16) >= 12


async def seen(shop: Shop) -> dict[str, Seen]:
    """Return the replicas of the till that are ready, by their places."""
    found = await asyncio.to_thread(sight, shop.place / "kept")
    return {p.name.rpartition(".")[0]: p for p in found.processes if p.unit == "Till" and p.state == "ready"}


async def releases(shop: Shop) -> list[int]:
    return [process.release for process in (await seen(shop)).values()]


async def rolled(shop: Shop, unit: str = "Till", **how: Any) -> None:
    await asyncio.to_thread(partial(roll, unit, folder=shop.place / "kept", **how))


def decided(shop: Shop) -> dict[str, set[int]]:
    """Return the releases that have decided on the sales of each shop, by the records that are kept."""
    ledger = apsw.Connection(str(shop.place / "kept/Till/ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
    found: dict[str, set[int]] = {}
    for (data,) in ledger.execute("SELECT body FROM record"):
        record = codec.decode(data, Record)
        found.setdefault(codec.decode(record.body)["shop"], set()).add(record.release)
    ledger.close()
    return found


@pytest.mark.long
async def test_a_canary_meets_its_share_and_ends_or_takes_over_unnoticed(tmp_path: Path) -> None:
    async with opened(tmp_path, OLD) as shop:
        async with shop.busy(2):
            shop.write(NEW)
            said = await shop.run("roll", "Till", "--canary", "0.25")
            assert "release 2 gets 0.25 of the queries, and 4 of 16 partitions" in said
            assert said.split(": ", 1)[1] in await shop.run("ps")
            assert await releases(shop) == [1, 2]
            found = await versions(shop)
            assert found == [2 if meets_new(name) else 1 for name in SHOPS]
            assert await versions(shop) == found
            assert 20 < (await unkeyed(shop)).count(2) < 80
            async with httpx.AsyncClient(base_url=shop.base, timeout=20) as http:
                for name in SHOPS:
                    await http.post("/events/Sold", json={"shop": name, "amount": 1.0})
                    shop.sold[name] = 1
                async with asyncio.timeout(20):
                    while not {*SHOPS} <= (by_key := await asyncio.to_thread(decided, shop)).keys():
                        pass
                    assert all(by_key[name] == {2 if meets_new(name) else 1} for name in SHOPS)
                    page = ""
                    while page.count('_calls_total{operation="Till.version",release=') < 2:  # a second old
                        page = (await http.get("/metrics")).text
            await rolled(shop, undo=True)
            assert await releases(shop) == [1]
            assert set(await versions(shop)) == {1}
            await rolled(shop, canary=0.25)
            await rolled(shop, canary=0.5)  # more of it
            assert 60 < (await unkeyed(shop)).count(2) < 140
            await rolled(shop, "", promote=True)
            assert len(set(await releases(shop))) == 1
            assert set(await versions(shop)) == {2}
        assert shop.failures == []
        exact(shop, await shop.counted())


async def test_who_dies_meanwhile_comes_back_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path, OLD) as shop:
        shop.write(NEW)
        await rolled(shop, canary=0.25)
        async with shop.busy(2, patient=True):
            found = await versions(shop)
            for place, life in (("Till-1", 2), ("Till-101", 2), ("Till-1", 3)):
                old = (await seen(shop))[place]
                assert old.starts == life - 1
                os.kill(old.pid, signal.SIGKILL)
                async with asyncio.timeout(20):
                    while (now := (await seen(shop)).get(place)) is None or now.starts < life:
                        pass
                assert now.release == old.release
                async with asyncio.timeout(20):
                    while await versions(shop) != found:  # until then the other side answers for it
                        pass
            assert await releases(shop) == [1, 2]
        exact(shop, await shop.counted())
        await shop.stop()
        await shop.start()  # the code as it is now, of all
        assert len(await releases(shop)) == 1
        assert set(await versions(shop)) == {2}
        exact(shop, await shop.counted())


async def test_a_canary_that_cannot_run_beside_or_be_undone_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, OLD) as shop:
        async with shop.busy(2):
            for text, why in (
                (OTHER, "what runs on cannot work with it: Till.total, its answer"),
                (RISEN, "writes what the release beside it cannot read"),
            ):
                shop.write(text)
                with pytest.raises(Refused, match=why):
                    await rolled(shop, canary=0.5)
                async with asyncio.timeout(20):
                    while await releases(shop) != [1]:
                        pass
                assert set(await versions(shop)) == {1}
            with pytest.raises(Refused, match="has no canary"):
                await rolled(shop, promote=True)
        assert shop.failures == []
        exact(shop, await shop.counted())
