"""CloudEvents over HTTP: each form, who may, what is refused, and one effect of each source and id."""

import json
from pathlib import Path
from typing import Any

import httpx

from allotrope.connectors.cloudevents import structured
from allotrope.connectors.cloudevents.bindings import HTTP
from allotrope.connectors.cloudevents.event import CloudEvent
from tests.gateway.doors import Door, opened

LOAF = {"id": "a", "kind": "rye", "grams": 500}
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def baked(id: str = "1", loaf: Any = LOAF, **more: Any) -> CloudEvent:
    named = {"source": "/oven", "type": "Baked", "datacontenttype": "application/json", **more}
    return CloudEvent(id=id, data=json.dumps(loaf).encode(), **named)


async def send(door: Door, event: CloudEvent, form: str = "structured", **headers: str) -> httpx.Response:
    sent = HTTP.structured(event) if form == "structured" else HTTP.binary(event)
    return await door.client.post("/events", content=sent.body, headers={**dict(sent.headers), **headers})


async def batch(door: Door, *events: CloudEvent) -> httpx.Response:
    body = structured.batch_written(events)
    return await door.client.post("/events", content=body, headers={"content-type": structured.BATCH})


async def test_each_form_is_taken(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        for number, form in enumerate(("structured", "binary"), 1):
            answer = await send(door, baked(str(number), {**LOAF, "id": form}), form)
            assert answer.status_code in (200, 202), answer.text
            assert answer.json()["origin"] == number
            assert (await door.post("/Shelf/loaf", {"id": form})).json()["grams"] == 500
        answer = await batch(door, *(baked(f"b{n}", {**LOAF, "id": f"b{n}"}) for n in range(5)))
        assert answer.status_code == 202
        assert [status["origin"] for status in answer.json()] == [3, 4, 5, 6, 7]
        assert (await batch(door)).json() == []


async def test_a_repeated_one_has_no_second_effect(tmp_path: Path) -> None:
    async with opened(tmp_path, 'durability = "process"\n[topic."*"]\nvia = "log"\n') as door:
        first = (await send(door, baked())).json()["origin"]
        assert (await send(door, baked(), "binary")).json()["origin"] == first
        assert {status["origin"] for status in (await batch(door, baked(), baked())).json()} == {first}
        assert (await send(door, baked(source="/other"))).json()["origin"] != first
        other = await send(door, baked(loaf={**LOAF, "grams": 1}))
        assert (other.status_code, other.json()["type"]) == (422, "urn:allotrope:reused")


async def test_what_is_refused_says_why_and_takes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        plain = await door.post("/events", LOAF)
        assert (plain.status_code, plain.json()["type"]) == (415, "urn:allotrope:media")
        assert "/events/KIND" in plain.json()["detail"]
        for event, told in (
            (baked(type="Backed"), "Nearest: `Baked`"),
            (baked(loaf={**LOAF, "gramms": 1}), "gramms"),
            (baked(datacontenttype="text/xml"), "send application/json"),
        ):
            answer = await send(door, event, "binary")
            assert answer.status_code == 422
            assert told in answer.json()["detail"]
            answer = await batch(door, baked("x", {**LOAF, "id": "x"}), event)
            assert answer.status_code == 422
            assert "event 1 of the batch, of which nothing was taken" in answer.json()["detail"]
        assert (await door.post("/Shelf/loaf", {"id": "x"})).json() is None
        broken = {"content-type": structured.MEDIA}
        for body in (b"", b"{", b"[]", b'{"specversion":"1.0"}'):
            assert (await door.client.post("/events", content=body, headers=broken)).status_code == 422
        bad = await send(door, baked(), "binary", **{"ce-id": "%C0%A0"})
        assert "UTF-8" in bad.json()["detail"]
        large = await send(door, baked(loaf={**LOAF, "id": "x" * 2_000_000}))
        assert large.status_code == 413


async def test_scopes_are_those_of_the_event(tmp_path: Path) -> None:
    keys = {"ann": ("events.Baked",), "bob": ("Shelf.*",)}
    async with opened(tmp_path, keys=keys) as door:
        assert (await send(door, baked(), "binary")).status_code in (200, 202)
        refused = await send(door, baked("2"), **{"x-api-key": "alt_bob_x"})
        assert refused.status_code == 401
    other = tmp_path / "other"
    other.mkdir()
    async with opened(other, keys={"bob": ("Shelf.*",)}) as door:
        for answer in (await send(door, baked()), await batch(door, baked())):
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:allotrope:scope")


async def test_its_trace_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        for form in ("binary", "structured"):
            answer = await send(door, baked(form, extensions={"traceparent": TRACE}), form)
            assert answer.headers["traceparent"][3:35] == "a" * 32
        hop = f"00-{'c' * 32}-{'d' * 16}-01"
        answer = await send(door, baked("3", extensions={"traceparent": TRACE}), traceparent=hop)
        assert answer.headers["traceparent"][3:35] == "c" * 32
        others = [f"00-{letter * 32}-{letter * 16}-01" for letter in "ef"]
        events = [baked(f"b{n}", extensions={"traceparent": trace}) for n, trace in enumerate(others)]
        assert (await batch(door, *events)).status_code == 202
        assert [list(span.links) for span in door.tracer.finished if span.links] == [others]
        assert {"e" * 32, "f" * 32} <= {
            f"{s.trace_id:032x}" for s in door.tracer.finished if s.name == "Shelf.put"
        }
        kept = {(f"{span.trace_id:032x}", span.name) for span in door.tracer.finished}
        assert {("a" * 32, "gateway events"), ("a" * 32, "Baked"), ("a" * 32, "Shelf.put")} <= kept
