"""A request from the outside: what it may ask, how it is answered, and what every error looks like."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from allotrope import PlanRefused, Refused
from allotrope.gateway.access.keys import made
from allotrope.gateway.problems import problem_of
from allotrope.kernel.errors import Lost
from allotrope.runtime.options import Reused
from allotrope.runtime.tracing import check_traceparent
from tests.gateway.bakery import GATES, RUN
from tests.gateway.doors import opened, until

LOAF = {"id": "a", "kind": "rye", "grams": 750}


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Return the body of an answer that has to be this problem."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
        answer.text
    )
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:allotrope:{kind}", body
    assert body["status"] == status
    assert body["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    return body


async def test_queries_commands_and_events(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        published = await door.post("/events/Baked", LOAF)
        assert (published.status_code, published.json()["origin"]) == (202, 1)
        assert (await door.post("/Shelf/loaf", {"id": "a"})).json() == LOAF
        assert (await door.get("/Shelf/loaf?id=a")).json() == LOAF
        assert (await door.get("/Shelf/loaf?id=b")).json() is None
        assert (await door.get("/Shelf/weigh?grams=3&times=1.5")).json() == 4.5
        assert (await door.get("/Shelf/weigh?grams=3&flat=true&kind=3")).json() == 0
        others = [{**LOAF, "grams": 900}, LOAF]
        assert (await door.post("/Shelf/heavier", {"loaf": LOAF, "others": others})).json() == others[:1]
        assert (await door.post("/Shelf/sell", {"id": "a", "pieces": 2})).json() == "5.00"


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/Shelf/loaf", b"{", 400, "no JSON"),
        ("/Shelf/loaf", b'{"id":"\xff"}', 400, "no JSON"),
        ("/Shelf/loaf", b'{"id":' + b"[" * 100_000, 422, "id"),
        ("/Oven/explode", b"[" * 100_000, 422, "object"),
        ("/bundle", b'{"a":{"call":"x","data":' + b"[" * 100_000, 400, "no JSON"),
        ("/Shelf/loaf", b'{"id":1}', 422, "Expected `str`, got `int`"),
        ("/Shelf/loaf", b"{}", 422, "missing required field `id`"),
        ("/Shelf/loaf", b"[]", 422, "Expected `object`, got `array`"),
        ("/Shelf/loaf", b'{"ids":"a"}', 422, "Nearest: `id`"),
        ("/Shelf/loaf", b'{"id":"\\ud800"}', 400, "no JSON"),
        ("/Shelf/weigh", b'{"grams":18446744073709551616}', 422, "grams"),
        ("/Shelf/weigh", b'{"grams":1,"times":1e999}', 422, "times"),
        ("/events/Baked", b'{"id":"a","kind":"spelt","grams":1}', 422, "spelt"),
        ("/events/Baked", b'{"id":"a","kind":"rye","gram":1}', 422, "Nearest: `grams`"),
    ],
)
async def test_what_does_not_fit_is_refused(
    tmp_path: Path, path: str, body: bytes, status: int, says: str
) -> None:
    async with opened(tmp_path) as door:
        answer = await door.client.post(path, content=body, headers={"content-type": "application/json"})
        assert says in problem(answer, status, "malformed" if status == 400 else "refused")["detail"]
        assert RUN == []


async def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        assert "Nearest: `/Shelf/loaf`" in problem(await door.get("/Shelf/loav"), 404, "unknown")["detail"]
        assert (await door.get("/Shelf/sell")).headers["allow"] == "POST"
        assert (await door.client.put("/Shelf/loaf")).headers["allow"] == "GET, POST"
        problem(await door.client.post("/Shelf/loaf", content=b"{}"), 415, "media")
        for query in ("id=a&id=b", "ids=a", "", "id", "grams=1"):
            assert (await door.get(f"/Shelf/loaf?{query}")).status_code == 422


async def test_errors_show_what_a_caller_may_know(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(tmp_path, "[gateway.status]\nSoldOut = 410\n") as door:
        gone = problem(await door.post("/Shelf/sell", {"id": "x"}), 410, "fault:SoldOut")
        assert (gone["fault"], gone["fields"]) == ("SoldOut", {"id": "x", "left": 0})
        problem(await door.post("/Shelf/sell", {"id": "never"}), 404, "fault:Unknown")
        failed = await door.post("/Oven/explode", None, X_Request_Id="mine")
        body = problem(failed, 500, "failed")
        assert body["instance"] == "urn:request:mine"
        assert "hunter2" not in failed.text
        assert "oven.py" not in failed.text
        assert "request mine" in caplog.text
        assert "come back with flour" in problem(await door.post("/Oven/refuse"), 422, "refused")["detail"]


async def test_a_fault_without_a_status_is_a_conflict(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        problem(await door.post("/Shelf/sell", {"id": "x"}), 409, "fault:SoldOut")


async def test_the_same_key_gives_the_same_end(tmp_path: Path) -> None:
    async with opened(tmp_path, keys={"ann": ("*",), "bob": ("*",)}) as door:
        for _ in range(2):
            await door.post("/events/Baked", LOAF, Idempotency_Key="bake")
        for _ in range(2):
            sold = await door.post("/Shelf/sell", {"id": "a"}, Idempotency_Key="one")
            assert (sold.status_code, sold.json()) == (200, "2.50")
        assert RUN == ["a"]
        problem(await door.post("/Shelf/sell", {"id": "b"}, Idempotency_Key="one"), 422, "reused")
        problem(await door.post("/events/Baked", {**LOAF, "grams": 1}, Idempotency_Key="bake"), 422, "reused")
        problem(await door.post("/Shelf/sell", {"id": "b"}, Idempotency_Key=""), 400, "header")


async def test_a_key_belongs_to_its_tenant(tmp_path: Path) -> None:
    async with opened(tmp_path, keys={"ann": ("*",)}) as door:
        other = made(tmp_path / "callers.json", "bob", "", ("*",))
        door.gate.admission.refresh()
        problem(await door.post("/Shelf/sell", {"id": "x"}, Idempotency_Key="one"), 409, "fault:SoldOut")
        answer = await door.post("/Shelf/sell", {"id": "y"}, Idempotency_Key="one", X_Api_Key=other)
        problem(answer, 409, "fault:SoldOut")
        assert RUN == ["x", "y"]


async def test_a_deadline_is_the_remaining_time(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        problem(await door.post("/Oven/bake", {"id": "a"}, X_Deadline_Ms="30"), 504, "lost")
        problem(await door.post("/Oven/burn", {"id": "b"}, X_Deadline_Ms="30"), 504, "lost")
        for none in ("0", "-5"):
            problem(await door.post("/Oven/bake", {"id": "c"}, X_Deadline_Ms=none), 504, "expired")
        assert RUN == ["a"]
        problem(await door.post("/Oven/bake", {"id": "c"}, X_Deadline_Ms="soon"), 400, "header")
        GATES["b"].set()  # a command that was accepted runs all the same
        await door.host.settled()
        assert RUN == ["a", "b"]
        assert door.gate.admission.turnstile.free == door.gate.settings.inflight


async def test_an_error_is_known_by_what_it_is_and_not_by_its_words(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        visit = partial(door.gate.link.visit, "Oven.bake", "r-1", "")
        lost = Lost("the line broke long before its deadline")
        assert problem_of(lost, visit(60.0), {}).status == 503
        assert problem_of(lost, visit(0.0), {}).status == 504
        assert problem_of(Reused("id x"), visit(60.0), {}).kind == "reused"
        assert problem_of(Refused("it was used before with other things"), visit(60.0), {}).kind == "refused"


async def test_nobody_waits_longer_than_the_gateway_allows(tmp_path: Path) -> None:
    async with opened(tmp_path, "[gateway]\ndeadline_s = 0.05\n") as door:
        problem(await door.post("/Oven/bake", {"id": "a"}, X_Deadline_Ms="9000"), 504, "lost")


async def test_ids_and_traces_come_in_and_go_out(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        answer = await door.post("/Shelf/loaf", {"id": "a"}, X_Request_Id="r-1")
        assert answer.headers["x-request-id"] == "r-1"
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        answer = await door.post("/Shelf/sell", {"id": "a"}, traceparent=parent)
        assert answer.headers["traceparent"].split("-")[1] == parent.split("-")[1]
        spans = [span for span in door.tracer.finished if f"{span.trace_id:032x}" == parent.split("-")[1]]
        by_name = {span.name: span for span in spans}
        assert by_name["gateway Shelf.sell"].parent_id == int(parent.split("-")[2], 16)
        assert len({span.parent_id for span in spans}) > 1  # what ran inside hangs below it
        unsampled = parent[:-1] + "0"
        answer = await door.post("/Shelf/loaf", {"id": "a"}, traceparent=unsampled)
        assert answer.headers["traceparent"] == unsampled
        for wrong in ("x", "00-zz-b7ad6b7169203331-01", parent.replace("0af7", "????")):
            answer = await door.post("/Shelf/loaf", {"id": "a"}, traceparent=wrong, X_Request_Id="a" * 500)
            assert check_traceparent(answer.headers["traceparent"])
            assert len(answer.headers["x-request-id"]) == 32


async def test_overload_is_answered_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path, "[gateway]\ninflight = 2\nqueue = 1\n") as door:
        asked = [asyncio.create_task(door.post("/Oven/bake", {"id": "a"})) for _ in range(3)]
        await until(lambda: door.gate.admission.turnstile.waiting == 1)
        refused = await door.post("/Oven/bake", {"id": "a"})
        problem(refused, 503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert (await door.get("/health/ready")).status_code == 200
        GATES["a"].set()
        assert [answer.status_code for answer in await asyncio.gather(*asked)] == [200] * 3
        assert door.gate.admission.turnstile.free == 2


async def test_a_component_that_is_full_says_when_to_come_back(tmp_path: Path) -> None:
    async with opened(tmp_path, "[component.Oven]\nconcurrency = 1\nqueue = 0\n") as door:
        asked = asyncio.create_task(door.post("/Oven/bake", {"id": "a"}))
        await until(lambda: RUN == ["a"])
        answer = await door.post("/Oven/bake", {"id": "b"})
        problem(answer, 503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        GATES["a"].set()
        assert (await asked).json() == "a"


async def test_pages_of_other_sites(tmp_path: Path) -> None:
    async with opened(tmp_path, '[gateway]\ncors = ["https://shop.example"]\n') as door:
        for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
            assert (
                await door.client.post("/Shelf/loaf", json={"id": "a"}, headers=headers)
            ).status_code == 403
        answer = await door.post("/Shelf/loaf", {"id": "a"}, origin="https://shop.example")
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (
            200,
            "https://shop.example",
        )
        asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
        preflight = await door.client.options("/Shelf/loaf", headers=asked)
        assert preflight.status_code == 204
        assert "idempotency-key" in preflight.headers["access-control-allow-headers"]


async def test_health_and_metrics(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        assert (await door.get("/health/live")).json() == {"status": "live"}
        assert (await door.get("/health/ready")).json() == {"status": "ready"}
        await door.post("/Shelf/loaf", {"id": "a"})
        text = (await door.get("/metrics")).text
        assert 'allotrope_gateway_answers_total{asked="Shelf.loaf",status="200"} 1.0' in text
        door.host.stop(RuntimeError("a disk"))
        assert (await door.get("/health/ready")).status_code == 503
        assert (await door.get("/health/live")).status_code == 200
        refused = await door.post("/Shelf/loaf", {"id": "a"})
        problem(refused, 503, "overloaded")
        assert "disk" not in refused.text


TOPOLOGY = """
[gateway.alias]
"/bread" = "Shelf.loaf"
[gateway.facade]
counter = ["Shelf.loaf", "Shelf.sell"]
"""


async def test_an_alias_is_another_path(tmp_path: Path) -> None:
    async with opened(tmp_path, TOPOLOGY) as door:
        await door.post("/events/Baked", LOAF)
        assert (await door.get("/bread?id=a")).json() == LOAF
        assert (await door.post("/bread", {"id": "a"})).json() == LOAF


async def test_several_operations_answer_together_each_with_its_own_end(tmp_path: Path) -> None:
    async with opened(tmp_path, TOPOLOGY) as door:
        await door.post("/events/Baked", LOAF)
        called = {
            "one": {"call": "Shelf.loaf", "data": {"id": "a"}},
            "two": {"call": "Shelf.sell", "data": {"id": "z"}},
            "three": {"call": "Shelf.loav"},
            "four": {"call": "Oven.rise", "data": {"pieces": 1}},
            "five": {"call": "Shelf.loaf", "data": []},
        }
        answer = (await door.post("/bundle", called)).json()
        assert {name: part["status"] for name, part in answer.items()} == {
            "one": 200, "two": 409, "three": 404, "four": 422, "five": 422,
        }  # fmt: skip
        assert answer["one"]["body"] == LOAF
        assert answer["two"]["problem"]["fields"]["id"] == "z"
        many = {str(number): {"call": "Shelf.loaf", "data": {"id": "a"}} for number in range(33)}
        problem(await door.post("/bundle", many), 422, "refused")


async def test_a_facade_gives_its_arguments_to_all_who_take_them(tmp_path: Path) -> None:
    async with opened(tmp_path, TOPOLOGY) as door:
        await door.post("/events/Baked", LOAF)
        for _ in range(2):  # the command in it has its own end under the caller's key
            answer = await door.post("/facade/counter", {"id": "a", "pieces": 3}, Idempotency_Key="k")
            assert answer.json()["Shelf.sell"] == {"status": 200, "body": "7.50"}
        assert RUN == ["a"]
        problem(await door.post("/facade/counter", {"ids": "a"}), 422, "refused")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[gateway.alias]\n"/x" = "Shelf.loav"',
            "alias `/x` names `Shelf.loav`, which is no query or command",
        ),
        ('[gateway.alias]\nx = "Shelf.loaf"', 'alias `x` is no path; write "/x"'),
        ('[gateway.facade]\nx = ["Shelf.put"]', "facade `x` names `Shelf.put`"),
        ("[gateway.canary]\nal = 0.5", "canary `al` is no unit. Nearest: `all`"),
        ("[gateway.canary]\nall = 1.5", "canary `all` has the share 1.5"),
        ("[gateway.status]\nSoldOut = 500", "status of `SoldOut` is 500"),
        ("[gateway]\nbody_kb = 0", "gateway has body_kb = 0"),
        ("[gateway]\nbodykb = 1", "`bodykb` is no key of gateway. Nearest: `body_kb`"),
        ("[gateway]\ninflight = 'many'", "`inflight` of gateway is 'many'"),
        ("[gateway.caller]\nrate = -1", "rate and places are at least 0"),
        ("gateway = 3", "`gateway` is 3"),
        ('[gateway.bearer]\nissuer="i"\naudience="a"\nalgorithms=["HS256"]', "`HS256` is not safe"),
    ],
)
async def test_a_gateway_is_planned(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(PlanRefused) as refused:
        async with opened(tmp_path, text + "\n"):
            pass
    assert says in str(refused.value)


async def test_two_offers_on_one_path(tmp_path: Path) -> None:
    with pytest.raises(PlanRefused, match="path /metrics is taken twice"):
        async with opened(tmp_path, '[gateway.alias]\n"/metrics" = "Shelf.loaf"\n'):
            pass


async def test_it_is_the_same_over_a_durable_layout(tmp_path: Path) -> None:
    async with opened(tmp_path, _DURABLE) as door:
        await door.post("/events/Baked", LOAF)
        await door.host.settled()
        assert (await door.get("/Shelf/loaf?id=a")).json() == LOAF
        assert (await door.post("/Shelf/sell", {"id": "a"}, Idempotency_Key="k")).json() == "2.50"
        assert (await door.post("/Shelf/sell", {"id": "a"}, Idempotency_Key="k")).json() == "2.50"


_DURABLE = 'durability = "process"\nreply = "effect"\n[topic."*"]\nvia = "log"\n'
