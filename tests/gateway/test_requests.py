"""Commands that answer later: where to look, how long to wait, whose it is; and reading what one has written."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from allotrope import App, Count, Event, Sum, Table, View, command, component, on, query
from allotrope.gateway.access.keys import made
from allotrope.gateway.preferences import preference
from tests.gateway.bakery import GATES, RUN
from tests.gateway.doors import Door, opened
from tests.gateway.test_gate import LOAF, problem

LATER = 'durability = "process"\nreply = "accepted"\n[topic."*"]\nvia = "log"\n'
EFFECT = LATER.replace("accepted", "effect")


class Paid(Event, key="card"):
    card: str
    amount: float


class Noted(Event, key="card"):
    card: str
    total: float


class Spent(View[Paid]):
    total = Sum("amount")
    count = Count()


@component
class Slow:
    seen: Table[int]

    @on(Paid)
    async def take(self, paid: Paid) -> None:
        await GATES.setdefault(paid.card, asyncio.Event()).wait()
        await self.seen.put(paid.card, (await self.seen.get(paid.card) or 0) + 1)

    @query
    async def count(self, card: str) -> int:
        return await self.seen.get(card) or 0


@component
class Quick:
    spent: Spent
    noted: Table[float]

    @on(Paid)
    async def note(self, paid: Paid) -> Noted:
        total = (await self.noted.get(paid.card) or 0.0) + paid.amount
        if total < 0:
            raise ValueError("overdrawn")
        await self.noted.put(paid.card, total)
        return Noted(paid.card, total)  # which nobody here takes

    @query
    async def total(self, card: str) -> float:
        return (await self.spent.of(card)).total

    @query
    async def sum(self, card: str) -> float:
        return await self.noted.get(card) or 0.0

    @command(key="card")
    async def reset(self, card: str) -> float:
        was = await self.noted.get(card) or 0.0
        await self.noted.put(card, 0.0)
        return was


bank = App("bank", Spent, Quick, Slow)  # in one flow they go in this order


async def becomes(door: Door, place: str, state: str) -> None:
    async with asyncio.timeout(10):
        for _ in iter(int, 1):
            if (await door.get(place)).json()["state"] == state:
                return


async def finished(door: Door, place: str, **headers: str) -> httpx.Response:
    return await door.get(place, Prefer="wait=10", **headers)


async def test_a_command_is_accepted_and_its_end_is_found_later(tmp_path: Path) -> None:
    async with opened(tmp_path, LATER) as door:
        accepted = await door.post("/Oven/burn", {"id": "a"})
        assert (accepted.status_code, accepted.headers["retry-after"]) == (202, "1")
        assert accepted.headers["allotrope-origin"] == "1"
        said, place = accepted.json(), accepted.headers["location"]
        assert place == f"/requests/{said['id']}"
        assert (said["asked"], said["origin"], said["settled"]) == ("Oven.burn", 1, False)
        assert (await door.get(place)).json()["state"] == "running"
        behind = await door.post("/Oven/burn", {"id": "a"})
        await becomes(door, behind.headers["location"], "waiting")
        GATES["a"].set()
        ended = await finished(door, place)
        assert ended.headers["preference-applied"] == "wait=10"
        assert {"state": "done", "answer": "a"}.items() <= ended.json().items()
        assert "retry-after" not in ended.headers
        await door.host.settled()
        assert (await door.get(place)).json() == {**ended.json(), "settled": True}
        assert RUN == ["a", "a"]


@pytest.mark.parametrize("layout", [LATER, EFFECT, ""], ids=["accepted", "effect", "chain"])
async def test_a_caller_says_how_long_it_waits(tmp_path: Path, layout: str) -> None:
    async with opened(tmp_path, layout) as door:
        await door.post("/events/Baked", LOAF, Prefer="wait=10")
        sold = await door.post("/Shelf/sell", {"id": "a"}, Prefer="wait=10")
        assert (sold.status_code, sold.json(), sold.headers["preference-applied"]) == (200, "2.50", "wait=10")
        out = await door.post("/Shelf/sell", {"id": "a"}, Prefer="wait=10")
        problem(out, 409, "fault:SoldOut")
        assert out.headers["preference-applied"] == "wait=10"
        assert (await door.get(out.headers["location"])).json()["state"] == "failed"
        later = await door.post("/Oven/burn", {"id": "b"}, Prefer="respond-async, handling=lenient")
        assert (later.status_code, later.headers["preference-applied"]) == (202, "respond-async")
        waited = await door.post("/Oven/burn", {"id": "c"}, Prefer='respond-async, wait="1"')
        assert (waited.status_code, waited.headers["preference-applied"]) == (202, "respond-async, wait=1")
        hasty = await door.post("/Oven/burn", {"id": "c"}, Prefer="wait=9", X_Deadline_Ms="100")
        assert hasty.status_code == 202
        assert RUN == ["a", "a"]
        for gate in GATES.values():
            gate.set()
        for answer, wanted in ((later, "b"), (waited, "c"), (hasty, "c")):
            assert (await finished(door, answer.headers["location"])).json()["answer"] == wanted


async def test_a_fault_and_a_failure_are_its_end(tmp_path: Path) -> None:
    async with opened(tmp_path, LATER) as door:
        sold = await door.post("/Shelf/sell", {"id": "never"})
        found = (await finished(door, sold.headers["location"])).json()
        assert (found["state"], found["problem"]["type"]) == ("failed", "urn:allotrope:fault:Unknown")
        assert found["problem"]["status"] == 404
        assert "answer" not in found


async def test_the_same_key_gives_the_same_place_and_then_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path, LATER) as door:
        first = await door.post("/Oven/burn", {"id": "a"}, Idempotency_Key="k")
        again = await door.post("/Oven/burn", {"id": "a"}, Idempotency_Key="k")
        assert first.headers["location"] == again.headers["location"]
        problem(await door.post("/Oven/burn", {"id": "b"}, Idempotency_Key="k"), 422, "reused")
        GATES["a"].set()
        await finished(door, first.headers["location"])
        await door.host.settled()
        ended = await door.post("/Oven/burn", {"id": "a"}, Idempotency_Key="k")
        assert (ended.status_code, ended.json()) == (200, "a")
        assert ended.headers["location"] == first.headers["location"]
        assert RUN == ["a"]


async def test_a_request_is_shown_to_who_may_ask_for_it(tmp_path: Path) -> None:
    async with opened(tmp_path, LATER, keys={"ann": ("*",)}) as door:
        other = made(tmp_path / "callers.json", "bob", "", ("*",))
        reader = made(tmp_path / "callers.json", "cat", "ann", ("Shelf.*",))
        door.gate.admission.refresh()
        asked = await door.post("/Oven/burn", {"id": "a"})
        place = asked.headers["location"]
        assert (await door.get(place)).status_code == 200
        for wrong in (place + "A", "/requests/x", "/requests/%F0", place[:-1], place + "/x"):
            problem(await door.get(wrong), 404, "unknown")
        for stranger in (other, reader):
            problem(await door.get(place, X_Api_Key=stranger), 404, "unknown")
        problem(await door.get(place, X_Api_Key="wrong"), 401, "denied")
        assert (await door.client.post(place)).headers["allow"] == "GET"


async def test_a_place_outlives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path, LATER) as door:
        GATES.setdefault("a", asyncio.Event()).set()
        asked = await door.post("/Oven/burn", {"id": "a"}, Idempotency_Key="k")
        event = await door.post("/events/Baked", LOAF)
        await door.host.settled()
    async with opened(tmp_path, LATER) as door:
        found = (await door.get(asked.headers["location"])).json()
        assert (found["state"], found["answer"], found["settled"]) == ("done", "a", True)
        assert (await door.get(event.headers["location"])).json()["state"] == "done"
        again = await door.post("/Oven/burn", {"id": "a"}, Idempotency_Key="k")
        assert (again.status_code, again.headers["location"]) == (200, asked.headers["location"])


async def test_parts_of_a_bundle_are_accepted_too(tmp_path: Path) -> None:
    async with opened(tmp_path, LATER) as door:
        parts = {
            "one": {"call": "Oven.burn", "data": {"id": "a"}},
            "two": {"call": "Shelf.loaf", "data": {"id": "z"}},
        }
        answer = await door.post("/bundle", parts)
        assert {name: part["status"] for name, part in answer.json().items()} == {"one": 202, "two": 200}
        assert answer.headers["allotrope-origin"] == "1"
        GATES["a"].set()
        found = await finished(door, f"/requests/{answer.json()['one']['body']['id']}")
        assert found.json()["answer"] == "a"


@pytest.mark.parametrize("layout", [LATER, EFFECT], ids=["accepted", "effect"])
async def test_what_was_written_is_read(tmp_path: Path, layout: str) -> None:
    async with opened(tmp_path, layout, what=bank) as door:
        paid = await door.post("/events/Paid", {"card": "c", "amount": 2.5})
        seen = {"Allotrope_Origin": paid.headers["allotrope-origin"]}
        assert (await door.get("/Quick/total?card=c", **seen)).json() == 2.5
        assert (await door.get("/Quick/sum?card=c&after=1")).json() == 2.5  # though another is at it still
        assert (await door.get("/views/Spent/c", **seen)).json() == {"total": 2.5, "count": 1}
        assert (await door.get(paid.headers["location"])).json()["state"] == "running"
        late = await door.get("/Slow/count?card=c", X_Deadline_Ms="200", **seen)
        problem(late, 504, "behind")
        assert late.headers["retry-after"] == "1"
        asked = asyncio.create_task(door.get("/Slow/count?card=c", **seen))
        GATES["c"].set()
        assert (await asked).json() == 1
        wiped = await door.post("/Quick/reset", {"card": "c"})
        after = wiped.headers["allotrope-origin"]
        assert (await door.get("/Quick/sum?card=c", Allotrope_Origin=after)).json() == 0.0
        problem(await door.get("/Quick/sum?card=c", Allotrope_Origin="99"), 409, "origin")
        problem(await door.get("/Quick/sum?card=c&after=x"), 400, "header")


@pytest.mark.parametrize(
    "layout", [LATER, "window = 2\n" + LATER, EFFECT], ids=["accepted", "full", "effect"]
)
async def test_who_is_behind_is_counted(tmp_path: Path, layout: str) -> None:
    async with opened(tmp_path, layout, what=bank) as door:
        for _ in range(6):
            await door.post("/events/Paid", {"card": "c", "amount": 1.0})
        async with asyncio.timeout(10):
            for _ in iter(int, 1):
                text = (await door.get("/metrics")).text
                if 'allotrope_lag_events{consumer="Slow"} 6.0' in text:
                    break
        assert 'allotrope_lag_events{consumer="Spent"} 0.0' in text
        (seconds,) = re.findall(r'allotrope_lag_seconds{consumer="Slow"} ([0-9.e-]+)', text)
        assert float(seconds) > 0
        GATES["c"].set()
        await door.host.settled()
        text = (await door.get("/metrics")).text
        for name in ("Slow", "Quick", "Spent"):
            assert f'allotrope_lag_events{{consumer="{name}"}} 0.0' in text
            assert f'allotrope_lag_seconds{{consumer="{name}"}} 0.0' in text


@pytest.mark.parametrize("layout", [LATER, EFFECT, ""], ids=["accepted", "effect", "chain"])
async def test_an_event_that_a_handler_cannot_take_is_parked(tmp_path: Path, layout: str) -> None:
    async with opened(tmp_path, layout, what=bank) as door:
        GATES.setdefault("c", asyncio.Event()).set()
        paid = await door.post("/events/Paid", {"card": "c", "amount": -1.0}, Prefer="wait=15")
        assert paid.json()["state"] == "parked"
        found = (await finished(door, paid.headers["location"])).json()
        assert (found["state"], found["settled"]) == ("parked", False)
        assert found["waits"] == "for Quick.note, which could not take it"
        assert "overdrawn" not in paid.text


async def test_what_was_written_is_read_where_nothing_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path, what=bank) as door:
        paid = await door.post("/events/Paid", {"card": "c", "amount": 2.5}, Prefer="respond-async")
        assert paid.json()["state"] == "running"
        seen = {"Allotrope_Origin": paid.headers["allotrope-origin"]}
        assert (await door.get("/Quick/sum?card=c", **seen)).json() == 2.5
        problem(await door.get("/Slow/count?card=c", X_Deadline_Ms="200", **seen), 504, "behind")
        GATES["c"].set()
        assert (await door.get("/Slow/count?card=c", **seen)).json() == 1


async def test_a_view_is_read_by_key(tmp_path: Path) -> None:
    async with opened(tmp_path, what=bank, keys={"ann": ("*",), "bob": ("Quick.*",)}) as door:
        GATES.setdefault("a/b c", asyncio.Event()).set()
        await door.post("/events/Paid", {"card": "a/b c", "amount": 1.5})
        assert (await door.get("/views/Spent/a%2Fb%20c")).json() == {"total": 1.5, "count": 1}
        assert (await door.get("/views/Spent/none")).json() == {"total": 0.0, "count": 0}
        assert (await door.get("/views/Spent/none?at=2026-01-01T00:00:00Z")).json()["count"] == 0
        problem(await door.get("/views/Spent/none?at=yesterday"), 422, "refused")
        problem(await door.get("/views/Spent/"), 404, "unknown")
        problem(await door.get("/views/Spend/x"), 404, "unknown")
        door.client.headers["x-api-key"] = made(tmp_path / "callers.json", "dan", "", ("Quick.*",))
        door.gate.admission.refresh()
        problem(await door.get("/views/Spent/none"), 403, "scope")


@pytest.mark.parametrize(
    ("said", "patience", "applied"),
    [
        (b"", None, b""),
        (b"wait=3", 3, b"wait=3"),
        (b"WAIT = 3", 3, b"wait=3"),
        (b"wait=3, wait=9", 3, b"wait=3"),
        (b"wait=99999999999", 30, b"wait=30"),
        (b"wait=-1", None, b""),
        (b"wait=\xb2", None, b""),
        (b"respond-async", 0, b"respond-async"),
        (b"return=minimal; foo=1, respond-async; x=y, wait=5", 5, b"respond-async, wait=5"),
        (b",,;=, \xff", None, b""),
    ],
)
def test_a_preference_is_read_or_passed_over(said: bytes, patience: int | None, applied: bytes) -> None:
    found = preference(said, 30)
    assert (found.patience_s, found.applied()) == (patience, applied)
