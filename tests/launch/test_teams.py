"""Two teams that share nothing but contract files, and incompatible versions of one library, run as one app."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.launch.teams import (
    BETTER,
    FIRST_ORDERS,
    ORDERS,
    ORDERS_TEST,
    SHIPPING,
    SHIPPING_TEST,
    TARIFF_1,
    TARIFF_2,
    WORSE,
    Served,
    Team,
)

BEFORE, AFTER = "1.4: 2 days, 30 cents", "1.4: 7 days, 30 cents"


@pytest.fixture
def teams(tmp_path: Path) -> tuple[Team, Team]:
    """Orders and Shipping, released one after the other, each from the other's contract."""
    orders, shipping = Team(tmp_path, "orders", TARIFF_1), Team(tmp_path, "shipping", TARIFF_2)
    orders.write(FIRST_ORDERS)
    shipping.learn(orders.publish(tmp_path), "orders_contract.py")
    shipping.write(SHIPPING, SHIPPING_TEST)
    orders.learn(shipping.publish(tmp_path), "shipping_contract.py")
    orders.write(ORDERS, ORDERS_TEST)
    orders.publish(tmp_path)
    return orders, shipping


@pytest.mark.long
async def test_two_teams_share_contract_files_and_nothing_else(
    tmp_path: Path, teams: tuple[Team, Team], note: Callable[[str], None]
) -> None:
    _, shipping = teams
    for team in teams:
        assert "1 passed" in team.run("pytest", "-q", "-p", "no:cacheprovider")
    served = Served(tmp_path, {team.name: team.python for team in teams})
    served.learn("orders.contract.json", "shipping.contract.json")
    served.run("plan", "shop", "-t", "shop.toml")
    await served.start()
    try:
        async with httpx.AsyncClient(base_url=served.base, timeout=20) as http:
            await everything_works(http)
            before = served.pids()
            shipping.write(BETTER)
            over = asyncio.Event()
            asking = asyncio.create_task(busy(http, over))
            await asyncio.to_thread(served.run, "roll", "shipping", "--folder", "kept")
            over.set()
            note(f"Shipping rolled alone: {await asking} answers meanwhile, none failed")
            assert await asked(http, "Orders/promise", grams=3) == AFTER
            after = served.pids()
            assert set(before.values()) & set(after.values()) == {
                pid for name, pid in before.items() if not name.startswith("shipping")
            }
            shipping.write(WORSE)
            said = served.run("roll", "shipping", "--folder", "kept", code=2)
            assert "app shipping is not what shop knows it to be by its contract: Shipping.days" in said
            note(f"an incompatible release: {said.strip()}")
            assert await asked(http, "Orders/promise", grams=3) == AFTER
            assert {*served.pids().values()} == {*after.values()}
            against = str(served.place / "kept" / "shipping")
            planned = ("plan", "shipping", "-t", str(tmp_path / "shop.toml"), "--against", against)
            assert "Shipping.days(grams)" in shipping.run("allotrope", *planned, code=2)
            served.run("plan", "shop", "-t", "shop.toml", "--against", against)
            shipping.publish(tmp_path)
            served.learn("orders.contract.json", "shipping.contract.json")
            said = served.run("plan", "shop", "-t", "shop.toml", "--against", against, code=2)
            assert "Shipping.days(grams)" in said
            shipping.write(BETTER)
            shipping.publish(tmp_path)
            served.learn("orders.contract.json", "shipping.contract.json")
            await asyncio.to_thread(served.run, "roll", "gateway", "--folder", "kept")
            assert await asked(http, "Shipping/state") == "2.0"
        await served.stop()
        await served.start()
        async with httpx.AsyncClient(base_url=served.base, timeout=20) as http:
            assert await asked(http, "Orders/due", id="a") == 3
    finally:
        await served.stop()


async def busy(http: httpx.AsyncClient, over: asyncio.Event) -> int:
    """Ask what needs both teams until it is over, and return how often."""
    count = 0
    while not over.is_set():
        assert await asked(http, "Orders/promise", grams=3) in (BEFORE, AFTER)
        count += 1
    return count


async def asked(http: httpx.AsyncClient, path: str, **given: object) -> object:
    answer = await http.post(f"/{path}", json=given)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def everything_works(http: httpx.AsyncClient) -> None:
    """Queries, commands and events, from outside and between the two."""
    assert (await http.post("/events/Placed", json={"id": "a", "grams": 1500})).status_code == 202
    assert await asked(http, "Orders/promise", grams=1500) == "1.4: 3 days, 15000 cents"
    async with asyncio.timeout(10):
        while True:
            if await asked(http, "Orders/due", id="a") == 3:
                break
            await asyncio.sleep(0.02)
    assert await asked(http, "Orders/cost", id="a") == 15000
    assert await asked(http, "Shipping/slip", id="a") == "2.0 15000"
    assert await asked(http, "Shipping/hold", id="a") == "a"
    assert await asked(http, "Orders/waive", id="a") == 15000
    assert await asked(http, "Orders/cost", id="a") == 0
