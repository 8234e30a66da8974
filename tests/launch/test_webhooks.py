"""Webhooks of an app that is served, whose gateway is killed while it sends them."""

import os
import signal
from pathlib import Path

import httpx
import msgspec

from tests.gateway.doors import until
from tests.gateway.test_webhooks import receiving, verified
from tests.launch.till import V1, Shop


async def test_a_killed_gateway_goes_on_where_it_was(tmp_path: Path) -> None:
    shop = Shop(tmp_path, "event-driven")
    shop.write(V1)
    await shop.start()
    try:
        async with receiving() as receiver, httpx.AsyncClient(base_url=shop.base, timeout=20) as http:
            told = ("--name", "shop", "--event", "Noted", "--allow-private")
            secret = (await shop.run("webhooks", "add", receiver.url, *told)).split()[-1]
            assert "shop: answered 200" in await shop.run("webhooks", "test", "shop")
            await until(lambda: (tmp_path / "kept" / "webhooks" / "shop.json").exists())
            for _ in range(20):
                await http.post("/events/Sold", json={"shop": "a", "amount": 1.0})
            await until(lambda: len(receiver.got) > 6)
            os.kill((await shop.pids())["gateway-1.1"], signal.SIGKILL)

            def totals() -> list[float]:
                bodies = [msgspec.json.decode(body) for _, body in receiver.got]
                return [body["data"]["total"] for body in bodies if body["type"] == "Noted"]

            await until(lambda: len(set(totals())) == 20)
            once = list(dict.fromkeys(totals()))
            assert once == [float(number) for number in range(1, 21)]
            assert len(totals()) <= 21  # the one that was on its way
            assert all(verified(secret, *each) for each in receiver.got)
            assert "http://127.0.0.1" in await shop.run("webhooks", "ls")
    finally:
        await shop.stop()
