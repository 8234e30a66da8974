"""Commands that answer later and reads of what was written, of an app in processes of its own."""

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.launch.till import V1, Shop

TEXT = (
    V1.replace(
        "app = App",
        """    @command(key="shop")
    async def close(self, shop: str) -> int:
        return await self.seen.get(shop) or 0

app = App""",
    )
    .replace(
        "        await self.seen.put(noted.shop",
        """        while os.path.exists("stop"):
            await asyncio.sleep(0.01)
        await self.seen.put(noted.shop""",
        1,
    )
    .replace("from allotrope", "import asyncio\nimport os\nfrom allotrope", 1)
)


@pytest.mark.parametrize("topology", ["microservices", "event-driven"])
async def test_what_was_written_is_read_and_found_again_after_a_kill(tmp_path: Path, topology: str) -> None:
    shop = Shop(tmp_path, topology)
    shop.write(TEXT)
    await shop.start()
    try:
        async with httpx.AsyncClient(base_url=shop.base, timeout=20) as http:
            for number in range(1, 31):
                sold = await http.post("/events/Sold", json={"shop": "a", "amount": 1.0})
                seen = {"allotrope-origin": sold.headers["allotrope-origin"]}
                total = await http.post("/Till/total", json={"shop": "a"}, headers=seen)
                assert total.json() == number
                assert (await http.get("/Ledger/count?shop=a", headers=seen)).json() == number
                assert (await http.get("/views/Notes/a", headers=seen)).json() == {"noted": number}
            once = {"idempotency-key": "k"}
            closed = await http.post("/Ledger/close", json={"shop": "a"}, headers=once)
            assert closed.status_code == (202 if topology == "event-driven" else 200)
            later = await http.post("/Ledger/close", json={"shop": "a"}, headers={"prefer": "respond-async"})
            waited = await http.post("/Ledger/close", json={"shop": "a"}, headers={"prefer": "wait=15"})
            assert (waited.status_code, waited.json()) == (200, 30)
            (tmp_path / "stop").touch()
            for _ in range(3):
                await http.post("/events/Sold", json={"shop": "b", "amount": 1.0})
            async with asyncio.timeout(20):
                while "Ledger is behind by 3 events, the oldest" not in await shop.run("ps"):
                    pass
            assert 'allotrope_lag_events{consumer="Notes"} 0.0' in (await http.get("/metrics")).text
            (tmp_path / "stop").unlink()
            gateway = (await shop.pids())["gateway-1.1"]
            os.kill(gateway, signal.SIGKILL)
            async with asyncio.timeout(20):
                while True:
                    try:
                        found = await http.get(later.headers["location"], headers={"prefer": "wait=10"})
                        again = await http.post(
                            "/Ledger/close", json={"shop": "a"}, headers={**once, "prefer": "wait=10"}
                        )
                        break
                    except httpx.TransportError:
                        await asyncio.sleep(0.05)
            assert (found.json()["state"], found.json()["answer"]) == ("done", 30)
            assert (again.status_code, again.json()) == (200, 30)
            assert "location" in again.headers
            assert (await http.get(sold.headers["location"])).json()["settled"] is True
    finally:
        await shop.stop()
