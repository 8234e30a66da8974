"""An app served under microservices, from the outside: its gateway is killed and replaced, its versions roll."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from allotrope.gateway.access.keys import made
from tests.launch.till import V1, V2, Shop


@asynccontextmanager
async def opened(place: Path, text: str = V1) -> AsyncIterator[Shop]:
    shop = Shop(place)
    shop.write(text)
    await shop.start()
    try:
        yield shop
    finally:
        if shop.process is not None and shop.process.returncode is None:
            await shop.stop()


def exact(it: Shop, found: dict[str, tuple[float, int]]) -> None:
    """Each sale had one effect, however often it was sent."""
    assert found == {name: (float(count), count) for name, count in it.sold.items()}


async def test_a_killed_gateway_is_back_and_each_sale_counts_once(
    tmp_path: Path, note: Callable[[str], None]
) -> None:
    async with opened(tmp_path) as shop:
        async with shop.busy(patient=True):
            await asyncio.sleep(0.5)
            times = []
            for _ in range(2):
                gateway = (await shop.pids())[f"gateway-1.{len(times) + 1}"]
                killed = time.monotonic()
                os.kill(gateway, signal.SIGKILL)
                async with httpx.AsyncClient(base_url=shop.base, timeout=20) as http:
                    assert (await http.get("/health/ready")).status_code == 200  # it waits at the socket
                times.append(time.monotonic() - killed)
        exact(shop, await shop.counted())
        note(
            f"gateway killed under load, answers again after: {', '.join(f'{each:.2f} s' for each in times)}"
        )
        assert max(times) < 10


async def test_a_gateway_that_has_lost_its_keys_lets_nobody_in(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    key = made(kept / "callers.json", "ann", "", ("*",))
    async with opened(tmp_path) as shop, httpx.AsyncClient(base_url=shop.base, timeout=20) as http:
        ask = partial(http.post, "/Till/total", json={"shop": "a"})
        assert (await ask()).status_code == 401
        gateway = (await shop.pids())["gateway-1.1"]
        (kept / "callers.json").rename(tmp_path / "away.json")
        os.kill(gateway, signal.SIGKILL)
        log = kept / "logs" / "gateway.log"
        async with asyncio.timeout(20):
            while (
                log.read_text().count("had to prove who they are") < 2
            ):  # it was started again, and refused again
                with pytest.raises(httpx.TransportError):
                    await ask(timeout=0.2)
        (tmp_path / "away.json").rename(kept / "callers.json")
        assert (await ask(timeout=20)).status_code == 401
        assert (await ask(headers={"x-api-key": key})).status_code == 200


@pytest.mark.long
async def test_a_new_version_rolls_in_and_out_and_nobody_notices(
    tmp_path: Path, note: Callable[[str], None]
) -> None:
    async with opened(tmp_path) as shop:
        async with shop.busy():
            await asyncio.sleep(0.3)
            shop.write(V2)
            await shop.run("roll")
            async with httpx.AsyncClient(base_url=shop.base, timeout=20) as http:
                schemas = (await http.get("/openapi.json")).text
                assert "currency" in schemas
                sold = await http.post("/events/Sold", json={"shop": "usd", "amount": 1.0, "currency": "usd"})
                assert sold.status_code == 202
                shop.sold["usd"] = 1
                assert (await http.post("/Ledger/known", json={"shop": "nowhere"})).json() is False
            shop.write(V1)
            await shop.run("roll")
            await asyncio.sleep(0.3)
        assert shop.failures == []
        exact(shop, await shop.counted())
        note(f"v1 to v2 and back under load: {sum(shop.sold.values())} sales, 0 failed")
        shop.write(V2)
        await shop.stop()
        await shop.start()
        exact(shop, await shop.counted())


async def test_it_leaves_nothing_behind(tmp_path: Path) -> None:
    async with opened(tmp_path) as shop:
        pids = await shop.pids()
        await shop.stop()
        assert not any(map(alive, pids.values()))
        assert list((shop.place / "kept" / "run").iterdir()) == []


async def test_a_killed_supervisor_takes_all_with_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as shop:
        pids = await shop.pids()
        assert shop.process is not None
        os.kill(pids["Till-1.1"], signal.SIGSTOP)
        shop.process.kill()
        await shop.process.wait()
        await asyncio.to_thread(ended, pids.values())


def ended(pids: Iterable[int]) -> None:
    """Return once none of these processes is there any more."""
    until = time.monotonic() + 10
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < until, f"still there: {left}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Return whether there is a process, and not only what nobody has asked how it ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
