"""The same app over gRPC: answers, errors, limits and the contract."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
import msgspec
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from allotrope import Refused
from allotrope.compose import document
from allotrope.gateway.offers import offers_of
from allotrope.gateway.rpc.contract import Contract
from allotrope.gateway.rpc.server import RpcServer
from allotrope.planning.plans import plan
from tests.gateway import forms
from tests.gateway.bakery import GATES, RUN, app
from tests.gateway.doors import Door, opened, until


class Stub:
    """A client that knows the contract's messages and nothing else."""

    def __init__(self, channel: grpc.aio.Channel, contract: Contract, headers: dict[str, str]) -> None:
        self.channel, self.contract, self.headers = channel, contract, headers

    def call(self, path: str, fields: Any, within_s: float | None = None, **headers: str) -> Any:
        method = self.contract.methods[path]
        kind = self.channel.unary_stream if method.offer.streams else self.channel.unary_unary
        send = kind(path, method.asked_class.SerializeToString, method.answered_class.FromString)
        given = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        message = fields if not isinstance(fields, dict) else method.asked_class(**fields)
        return send(message, timeout=within_s, metadata=tuple(given.items()))


@contextlib.asynccontextmanager
async def dialled(folder: Path, text: str = "", **options: Any) -> AsyncIterator[tuple[Stub, Door]]:
    async with opened(folder, text, **options) as door:
        server = RpcServer(door.gate)
        port = await server.listen("127.0.0.1", 0)
        key = door.client.headers.get("x-api-key")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                yield Stub(channel, server.contract, {"x-api-key": key} if key else {}), door
            finally:
                for waiting in GATES.values():
                    waiting.set()
                await server.stop(1.0)


async def refused(call: Any, code: grpc.StatusCode) -> tuple[grpc.aio.AioRpcError, dict[str, str]]:
    """Return the error that a call has to end with, and the metadata of its ErrorInfo."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() == code, caught.value
    trailing = dict(caught.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return caught.value, {"reason": info.reason, **info.metadata}


async def test_queries_commands_events_and_streams(tmp_path: Path) -> None:
    async with dialled(tmp_path) as (stub, _):
        published = await stub.call("/bakery.Events/Baked", {"id": "a", "kind": "rye", "grams": 750})
        assert published.origin == 1
        call = stub.call("/bakery.Shelf/Loaf", {"id": "a"}, x_request_id="mine")
        loaf = (await call).value
        assert (loaf.id, loaf.kind, loaf.grams) == ("a", "rye", 750)
        assert dict(await call.initial_metadata())["x-request-id"] == "mine"
        assert not (await stub.call("/bakery.Shelf/Loaf", {"id": "b"})).HasField("value")
        assert (await stub.call("/bakery.Shelf/Weigh", {"grams": 3})).value == 3.0
        assert (await stub.call("/bakery.Shelf/Weigh", {"grams": 3, "times": 0.5})).value == 1.5
        for _ in range(2):
            sold = await stub.call("/bakery.Shelf/Sell", {"id": "a", "pieces": 2}, idempotency_key="k")
            assert sold.value == "5.00"
        assert RUN == ["a"]
        pieces = [piece.value.id async for piece in stub.call("/bakery.Oven/Rise", {"pieces": 3})]
        assert pieces == ["0", "1", "2"]


async def test_errors_are_the_same_as_over_http(tmp_path: Path) -> None:
    async with dialled(tmp_path) as (stub, door):
        _, info = await refused(
            stub.call("/bakery.Shelf/Sell", {"id": "x"}), grpc.StatusCode.FAILED_PRECONDITION
        )
        assert (info["reason"], msgspec.json.decode(info["fields"])) == (
            "fault:SoldOut",
            {"id": "x", "left": 0},
        )
        await refused(stub.call("/bakery.Shelf/Sell", {"id": "never"}), grpc.StatusCode.NOT_FOUND)
        error, info = await refused(
            stub.call("/bakery.Oven/Explode", {}, x_request_id="mine"), grpc.StatusCode.INTERNAL
        )
        assert info["instance"] == "urn:request:mine"
        assert "hunter2" not in str(error)
        bad = {"id": "a", "kind": "spelt", "grams": 1}
        error, _ = await refused(stub.call("/bakery.Events/Baked", bad), grpc.StatusCode.INVALID_ARGUMENT)
        assert "spelt" in str(error.details())
        noise = door.gate and stub.channel.unary_unary("/bakery.Shelf/Loaf")
        await refused(noise(b"\xff\xff\xff"), grpc.StatusCode.INVALID_ARGUMENT)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.channel.unary_unary("/bakery.Shelf/Loav")(b"")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        piece = stub.call("/bakery.Oven/Rise", {"pieces": 1, "fail": True})
        assert (await piece.read()).value.id == "0"
        await refused(piece.read(), grpc.StatusCode.INTERNAL)
        assert door.gate.admission.turnstile.free == door.gate.settings.inflight
        assert 'asked="Oven.explode",status="500"' in (await door.get("/metrics")).text


async def test_others_may_come_only_with_keys(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        with pytest.raises(Refused, match="allotrope keys new"):
            await RpcServer(door.gate).listen("0.0.0.0", 0)


async def test_deadlines(tmp_path: Path) -> None:
    async with dialled(tmp_path, "[gateway]\ndeadline_s = 0.2\n") as (stub, door):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.call("/bakery.Oven/Bake", {"id": "a"}, within_s=0.05)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await refused(stub.call("/bakery.Oven/Bake", {"id": "b"}), grpc.StatusCode.DEADLINE_EXCEEDED)
        await until(lambda: door.gate.admission.turnstile.free == door.gate.settings.inflight)


async def test_keys_scopes_rates_and_overload(tmp_path: Path) -> None:
    text = "[gateway]\ninflight = 1\nqueue = 0\n[gateway.caller]\nrate = 0.001\nburst = 3\n"
    async with dialled(tmp_path, text, keys={"ann": ("Oven.*",)}) as (stub, door):
        await refused(
            stub.call("/bakery.Oven/Bake", {"id": "a"}, x_api_key=""), grpc.StatusCode.UNAUTHENTICATED
        )
        await refused(
            stub.call("/bakery.Oven/Bake", {"id": "a"}, x_api_key="alt_a_b"), grpc.StatusCode.UNAUTHENTICATED
        )
        await refused(stub.call("/bakery.Shelf/Loaf", {"id": "a"}), grpc.StatusCode.PERMISSION_DENIED)
        asked = asyncio.ensure_future(stub.call("/bakery.Oven/Bake", {"id": "a"}))
        await until(lambda: RUN == ["a"])
        await refused(stub.call("/bakery.Oven/Bake", {"id": "b"}), grpc.StatusCode.UNAVAILABLE)
        GATES["a"].set()
        assert (await asked).value == "a"
        await stub.call("/bakery.Oven/Crumbs", {"size": 1})
        await refused(stub.call("/bakery.Oven/Crumbs", {"size": 1}), grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert door.gate.admission.turnstile.free == 1


async def test_a_message_has_a_limit(tmp_path: Path) -> None:
    async with dialled(tmp_path, "[gateway]\nbody_kb = 4\n") as (stub, _):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.call("/bakery.Shelf/Loaf", {"id": "a" * 5000})
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_client_that_goes_ends_a_stream(tmp_path: Path) -> None:
    async with dialled(tmp_path) as (stub, door):
        pieces = stub.call("/bakery.Oven/Rise", {"pieces": 1, "wait": "w"})
        await pieces.read()
        pieces.cancel()
        await until(lambda: door.gate.admission.turnstile.free == door.gate.settings.inflight)


def contract(what: Any) -> Contract:
    made = plan(what, document("monolith"))
    return Contract(what.name, offers_of(made).values())


def test_the_text_says_what_the_descriptors_do() -> None:
    text = contract(app).text()
    assert "service Shelf {" in text
    assert "  // Return a loaf.\n" in text
    assert "  rpc Rise(OvenRiseRequest) returns (stream OvenRiseReply);" in text
    assert "message ShelfHeavierRequest {\n  Loaf loaf = 1;\n  repeated Loaf others = 2;\n}" in text
    assert "  optional double times = 2;" in text
    assert "  string some = 16;  // JSON" in contract(forms.app).text().replace(
        "optional string some", "string some"
    )


TEXT = st.text(st.characters(codec="utf-8"))
INNER = st.builds(forms.Inner, number=st.integers(0, 9), words=st.lists(TEXT).map(tuple))
WHOLE = st.builds(
    forms.Whole,
    text=TEXT,
    count=st.integers(-(1 << 63), (1 << 63) - 1),
    share=st.floats(allow_nan=False, allow_infinity=False),
    yes=st.booleans(),
    raw=st.binary(),
    exact=st.decimals(allow_nan=False, allow_infinity=False, places=3).map(Decimal),
    ident=st.uuids().map(lambda found: UUID(int=found.int)),
    at=st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)).map(
        lambda at: at.replace(tzinfo=UTC)
    ),
    day=st.dates().map(lambda day: date(day.year, day.month, day.day)),
    hour=st.times().map(lambda hour: time(hour.hour, hour.minute, hour.second, hour.microsecond)),
    span=st.timedeltas(timedelta(days=-9999), timedelta(days=9999)),
    size=st.sampled_from(forms.Size),
    word=st.sampled_from(["a", "b"]),
    two=st.tuples(st.integers(-9, 9), TEXT),
    many=st.lists(INNER, max_size=3).map(tuple),
    some=st.builds(forms.Leaf, st.floats(-9, 9)) | st.builds(forms.Pair, INNER, st.none() | INNER),
)
FORMS = contract(forms.app)


@settings(max_examples=60)
@given(WHOLE)
def test_every_value_comes_back_as_it_was(whole: forms.Whole) -> None:
    method = FORMS.methods["/forms.Forms/Whole"]
    reply = method.answered_class.FromString(FORMS.written(method, whole))
    asked = method.asked_class()
    asked.whole.ParseFromString(reply.value.SerializeToString())
    assert FORMS.read(method, asked.SerializeToString()).whole == whole


LATER = 'durability = "process"\nreply = "accepted"\n[topic."*"]\nvia = "log"\n'


async def test_a_call_waits_for_its_command_unless_it_says_otherwise(tmp_path: Path) -> None:
    async with dialled(tmp_path, LATER) as (stub, door):
        later = stub.call("/bakery.Oven/Burn", {"id": "a"}, prefer="respond-async")
        assert (await later).value == ""
        told = dict(await later.initial_metadata())
        assert (told["preference-applied"], told["allotrope-origin"]) == ("respond-async", "1")
        _, info = await refused(
            stub.call("/bakery.Oven/Burn", {"id": "b"}, 0.3, idempotency_key="k"),
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )
        assert info["reason"] == "lost"
        for gate in GATES.values():
            gate.set()
        assert (await stub.call("/bakery.Oven/Burn", {"id": "b"}, idempotency_key="k")).value == "b"
        assert (await door.get(told["location"], Prefer="wait=10")).json()["answer"] == "a"
        await stub.call("/bakery.Events/Baked", {"id": "c", "kind": "rye", "grams": 1})
        seen = stub.call("/bakery.Shelf/Loaf", {"id": "c"}, allotrope_origin="3")
        assert (await seen).value.id == "c"
        await refused(
            stub.call("/bakery.Shelf/Loaf", {"id": "c"}, allotrope_origin="x"),
            grpc.StatusCode.INVALID_ARGUMENT,
        )
