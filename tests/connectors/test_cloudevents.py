"""CloudEvents: each binding both ways, what is read though nobody should write it, and what is refused."""

import string
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from allotrope import Event, Refused
from allotrope.connectors.cloudevents import structured
from allotrope.connectors.cloudevents.bindings import AMQP, HTTP, KAFKA, MQTT, NATS, Binding
from allotrope.connectors.cloudevents.event import CloudEvent, event_of, text_of
from allotrope.connectors.cloudevents.mapping import input_of, json_of, outgoing, request_of, source_of
from allotrope.kernel import codec
from allotrope.storage.ports import Envelope

BINDINGS = pytest.mark.parametrize("binding", [HTTP, KAFKA, NATS, MQTT, AMQP], ids=lambda one: one.name)

LETTERS = some.characters(exclude_categories=("Cc", "Cs", "Cn", "Co"))
TEXT = some.text(LETTERS, min_size=1, max_size=30)
NAMES = some.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12).filter(
    lambda name: (
        name not in {"specversion", "id", "source", "type", "subject", "time", "data", "dataschema"}
        and name != "datacontenttype"
    )
)
NUMBERS = some.integers(-(1 << 31), (1 << 31) - 1)
JSONS = some.recursive(
    some.none() | some.booleans() | NUMBERS | some.text(LETTERS, max_size=9),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(LETTERS, max_size=5), inner),
    max_leaves=6,
).filter(lambda value: value is not None)


@some.composite
def events(draw: Any) -> CloudEvent:
    media, data = draw(
        some.one_of(
            some.tuples(some.just("application/json"), JSONS.map(msgspec.json.encode)),
            some.tuples(some.just("text/plain"), some.text(LETTERS, min_size=1).map(str.encode)),
            some.tuples(some.just("application/octet-stream"), some.binary(min_size=1)),
            some.just(("", None)),
        )
    )
    return CloudEvent(
        id=draw(TEXT), source=draw(TEXT.filter(lambda text: not any(map(str.isspace, text)))), type=draw(TEXT),
        subject=draw(some.just("") | TEXT), datacontenttype=media, data=data,
        time=draw(some.sampled_from(["", "2026-01-31T12:00:00Z", "1985-04-12T23:20:50.52-08:00"])),
        dataschema=draw(some.sampled_from(["", "urn:schema:1", "https://example.com/a?b#c"])),
        extensions=draw(some.dictionaries(NAMES, TEXT | NUMBERS | some.booleans(), max_size=4)),
    )  # fmt: skip


def as_text(event: CloudEvent) -> CloudEvent:
    """The event after headers have carried it: they hold nothing but text."""
    return msgspec.structs.replace(event, extensions={n: text_of(v) for n, v in event.extensions.items()})


@BINDINGS
@given(event=events())
def test_what_is_written_is_read(binding: Binding, event: CloudEvent) -> None:
    sent = binding.binary(event)
    assert binding.read(sent.headers, sent.body, sent.media) == as_text(event)
    whole = binding.structured(event)
    assert binding.read(whole.headers, whole.body, whole.media) == event
    if binding.escaped:
        assert all(
            value.isascii() and value.isprintable() for name, value in sent.headers if name != "content-type"
        )


@given(some.lists(events(), max_size=4))
def test_a_batch_comes_back_in_its_order(sent: list[CloudEvent]) -> None:
    assert structured.batch_read(structured.batch_written(sent), 4) == sent


@given(
    some.binary(max_size=60), some.dictionaries(some.text(max_size=12), some.text(max_size=12), max_size=5)
)
def test_anything_else_is_refused_and_nothing_worse(body: bytes, headers: dict[str, str]) -> None:
    for binding in (HTTP, KAFKA, NATS, MQTT, AMQP):
        for media in ("", structured.MEDIA):
            with pytest.raises(Refused):
                binding.read([*headers.items(), ("ce-x y", "")], body, media)
    with pytest.raises(Refused):
        structured.batch_read(b"{" + body, 3)


PLAIN = CloudEvent(
    id="7", source="/till", type="Paid", datacontenttype="application/json", data=b'{"a":1}',
    extensions={"partitionkey": "c 1", "ok": True, "count": -3},
)  # fmt: skip


def test_headers_are_those_of_the_standard() -> None:
    assert dict(HTTP.binary(PLAIN).headers) == {
        "ce-specversion": "1.0", "ce-id": "7", "ce-source": "/till", "ce-type": "Paid", "ce-partitionkey": "c%201",
        "ce-ok": "true", "ce-count": "-3", "content-type": "application/json",
    }  # fmt: skip
    kafka = KAFKA.binary(PLAIN)
    assert (dict(kafka.headers)["ce_partitionkey"], kafka.key) == ("c 1", "c 1")
    assert dict(kafka.headers)["content-type"] == "application/json"
    nats = dict(NATS.binary(PLAIN).headers)
    assert nats["ce-datacontenttype"] == "application/json"
    assert "content-type" not in nats
    mqtt = MQTT.binary(PLAIN)
    assert (dict(mqtt.headers)["id"], mqtt.media) == ("7", "application/json")
    assert "datacontenttype" not in dict(mqtt.headers)
    assert dict(AMQP.binary(PLAIN).headers)["cloudEvents_id"] == "7"


LEAST = {"ce-specversion": "1.0", "ce-source": "/a", "ce-type": "t"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Euro%20%E2%82%AC", "Euro €"),
        ("%e2%82%ac", "€"),  # lower case
        ('"a \\"b\\" c"', 'a "b" c'),  # quoted, as older senders have it
        ('"%41b"', "Ab"),
        ("%41%42", "AB"),  # more than need be
        ("€", "€"),  # less than need be
        ("a b", "a b"),
        ("100%", "100%"),
    ],
)
def test_what_others_write_is_read(written: str, read: str) -> None:
    for binding in (HTTP, NATS):
        assert binding.read([*LEAST.items(), ("CE-ID", written)], b"").id == read
    assert HTTP.read([*LEAST.items(), ("ce-id", written.encode())], b"").id == read


@pytest.mark.parametrize("written", ["%C0%A0", "%ff", "%ED%A0%80", b"\xff"])
def test_what_is_no_text_is_refused(written: Any) -> None:
    with pytest.raises(Refused, match=r"ce-id.*UTF-8"):
        NATS.read([*LEAST.items(), ("ce-id", written)], b"")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"id": ""}, "`id`"),
        ({"specversion": "0.3"}, "another version"),
        ({"source": "a b"}, "no URI"),
        ({"time": "yesterday"}, "RFC 3339"),
        ({"time": "2026-02-30T00:00:00Z"}, "RFC 3339"),
        ({"dataschema": "schema"}, "no absolute URI"),
        ({"datacontenttype": "json"}, "no media type"),
        ({"MyExt": "x"}, "no name of an extension"),
        ({"ext": "a\x00"}, "U\\+0000"),
        ({"ext": "a\ufdd0"}, "U\\+FDD0"),
        ({"ext": 1 << 31}, "32 bits"),
        ({"ext": "x" * 70_000}, "65,536 are the most"),
        ({"subject": 3}, "no text"),
    ],
)
def test_a_fault_is_named_with_its_value(values: dict[str, Any], told: str) -> None:
    whole = {"specversion": "1.0", "id": "1", "source": "/a", "type": "t", **values}
    with pytest.raises(Refused, match=told):
        event_of(whole, None)


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_what_is_required_is_missed(name: str) -> None:
    whole = {"specversion": "1.0", "id": "1", "source": "/a", "type": "t"}
    del whole[name]
    with pytest.raises(Refused, match=f"`{name}`"):
        event_of(whole, None)


def _json(**members: Any) -> CloudEvent:
    return structured.read(
        msgspec.json.encode({"specversion": "1.0", "id": "1", "source": "/a", "type": "t", **members})
    )


def test_data_in_json_is_what_its_type_says() -> None:
    assert _json(data={"a": [1]}).data == b'{"a":[1]}'
    assert _json(data="x").data == b'"x"'
    assert _json(data="x", datacontenttype="text/xml").data == b"x"
    assert _json(data={"a": 1}, datacontenttype="text/xml").data == b'{"a":1}'
    assert _json(data_base64="AP8=", datacontenttype="image/png").data == b"\x00\xff"
    assert _json(subject=None, data=None).data is None
    for wrong in ({"data": 1, "data_base64": ""}, {"data_base64": "?"}, {"ext": 1.5}, {"ext": {}}):
        with pytest.raises(Refused):
            _json(**wrong)


def test_a_batch_names_the_event_that_is_none() -> None:
    good = structured.written(PLAIN)
    with pytest.raises(Refused, match="event 1 of the batch"):
        structured.batch_read(b"[" + good + b",{}]", 9)
    with pytest.raises(Refused, match="1 events at most"):
        structured.batch_read(b"[" + good + b"," + good + b"]", 1)


def test_two_media_types_and_other_formats_are_refused() -> None:
    with pytest.raises(Refused, match="two media types"):
        HTTP.read(
            [*LEAST.items(), ("ce-id", "1"), ("ce-datacontenttype", "a/b"), ("content-type", "c/d")], b"x"
        )
    with pytest.raises(Refused, match="twice"):
        HTTP.read([*LEAST.items(), ("ce-id", "1"), ("ce-id", "1")], b"")
    for media in ("application/cloudevents+avro", "application/cloudevents+json; charset=latin1"):
        with pytest.raises(Refused, match=r"send it as application/cloudevents\+json"):
            HTTP.read([("content-type", media)], b"{}")


class Paid(Event, key="card"):
    card: str
    cents: int


def test_an_event_of_an_app_names_its_causes() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = codec.encode(Paid("c1", 250))
    sent = Envelope("Paid", "c1", body, 5, 42, "/Till.pay#000/Bank.book#001", trace=trace, time=1_000_001)
    event = outgoing(sent, Paid, source_of("my shop"), 17)
    assert (event.id, event.source, event.type) == ("42/Till.pay#000/Bank.book#001", "my%20shop", "Paid")
    assert (event.time, event.data) == ("1970-01-01T00:00:01.000001Z", b'{"card":"c1","cents":250}')
    assert event.extensions == {
        "partitionkey": "c1", "sequence": "00000000000000000017", "traceparent": trace, "correlationid": "42",
        "causationid": "42/Till.pay#000",
    }  # fmt: skip


def test_sequences_are_in_order_as_text() -> None:
    body = codec.encode(Paid("c", 1))
    found = [
        outgoing(Envelope("Paid", "c", body, 1, 1), Paid, "a", position).extensions["sequence"]
        for position in (1, 9, 10, 99, 100, 10**15)
    ]
    assert found == sorted(found, key=str)


def test_source_and_id_are_the_request() -> None:
    one = CloudEvent(id="b c", source="/a", type="Paid", time="2026-01-31T12:00:00.5Z")
    assert input_of(one, "north").request == "/a b c"
    assert input_of(one, "north").tenant == "north"
    assert input_of(one).at == datetime(2026, 1, 31, 12, 0, 0, 500_000, UTC)
    long = [CloudEvent(id=text, source="/a", type="Paid") for text in ("x" * 300, "x" * 301, "é")]
    assert len({request_of(event) for event in long}) == 3
    assert all(len(request_of(event)) < 100 for event in long)


def test_the_trace_of_the_hop_goes_before_that_of_the_flow() -> None:
    flow, hop = (f"00-{'a' * 32}-{digit * 16}-01" for digit in "12")
    event = CloudEvent(id="1", source="/a", type="t", extensions={"traceparent": flow})
    assert input_of(event, trace=hop).traceparent == hop
    assert input_of(event, trace="broken").traceparent == flow


def test_data_that_is_not_json_is_no_event_of_ours() -> None:
    with pytest.raises(Refused, match="send application/json"):
        json_of(CloudEvent(id="1", source="/a", type="t", datacontenttype="text/xml", data=b"<a/>"))
