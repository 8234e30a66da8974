"""CloudEvents with those of others: what they write we read, what we write they read. PyPI and npm `cloudevents`."""

import base64
import json
from typing import Any

import pytest

from allotrope.connectors.cloudevents import structured
from allotrope.connectors.cloudevents.bindings import AMQP, HTTP, KAFKA, MQTT, Binding, Carried
from allotrope.connectors.cloudevents.event import CloudEvent
from tests import node

TIME = "2026-01-31T12:00:00Z"  # the peers make one up where there is none
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MEMBERS: dict[str, dict[str, str]] = {
    "least": {"id": "1", "source": "/till", "type": "Paid", "time": TIME},
    "full": {
        "id": "42/Till.pay#000", "source": "https://shop.example/till", "type": "com.example.Paid", "subject": "card-1",
        "time": TIME, "dataschema": "https://shop.example/paid.json", "partitionkey": "card-1",
        "sequence": "00000000000000000017", "traceparent": TRACE, "correlationid": "42", "causationid": "42/Till",
    },
    "odd": {
        "id": "a%20b", "source": "/a", "type": "t", "time": TIME, "subject": 'Euro € 😀 "q" 100% ',
        "note": "ü~!#$&'()*+,/:;=?@[]",
    },
}  # fmt: skip
DATA: dict[str, tuple[str, Any]] = {
    "json": ("application/json", {"card": "ü", "cents": [1, 2.5, None, True]}),
    "text": ("text/plain", "plain € text"),
    "bytes": ("application/octet-stream", b"\x00\xff\x80"),
}
MATRIX = [pytest.param(members, data, id=f"{members}-{data}") for members in MEMBERS for data in DATA]


def ours(members: str, data: str) -> CloudEvent:
    named = {"subject": "", "time": "", "dataschema": ""}
    given = {**named, **MEMBERS[members]}
    own = {name: given.pop(name) for name in ("id", "source", "type", *named)}
    media, value = DATA[data]
    body = (
        value
        if isinstance(value, bytes)
        else value.encode()
        if isinstance(value, str)
        else json.dumps(value).encode()
    )
    return CloudEvent(**own, datacontenttype=media, extensions=given, data=body)


def same(one: CloudEvent, other: CloudEvent) -> bool:
    """Whether two say the same: spaces in JSON and the way a time is written do not count."""
    texts = [{**event.attributes(), "time": event.moment()} for event in (one, other)]
    datas = [
        e.data if e.data is None or not structured.is_json(e.datacontenttype) else json.loads(e.data)
        for e in (one, other)
    ]
    return texts[0] == texts[1] and datas[0] == datas[1]


# -- PyPI


def theirs(members: str, data: str) -> Any:
    peer = pytest.importorskip("cloudevents.core.v1.event")
    from dateutil.parser import isoparse

    media, value = DATA[data]
    attributes: dict[str, Any] = {"specversion": "1.0", **MEMBERS[members], "datacontenttype": media}
    attributes["time"] = isoparse(attributes["time"])
    return peer.CloudEvent(attributes=attributes, data=value)


def alike(peer: Any, event: CloudEvent) -> None:
    given = {
        n: v.isoformat().replace("+00:00", "Z") if n == "time" else v
        for n, v in peer.get_attributes().items()
    }
    assert given == event.attributes()
    data = peer.get_data()
    if structured.is_json(event.datacontenttype):
        assert event.data is not None
        data, wanted = json.loads(data) if isinstance(data, str | bytes) else data, json.loads(event.data)
    else:
        wanted = event.data
        data = data.encode() if isinstance(data, str) else data
    assert data == wanted


@pytest.mark.parametrize(("members", "data"), MATRIX)
def test_http_with_pypi(members: str, data: str) -> None:
    from cloudevents.core.bindings import http

    event, peer = ours(members, data), theirs(members, data)
    for sent in (http.to_binary_event(peer), http.to_structured_event(peer)):
        assert same(HTTP.read(sent.headers.items(), sent.body), event)
    binary, whole = HTTP.binary(event), HTTP.structured(event)
    alike(http.from_binary_event(http.HTTPMessage(dict(binary.headers), binary.body)), event)
    alike(http.from_structured_event(http.HTTPMessage(dict(whole.headers), whole.body)), event)


@pytest.mark.parametrize(("members", "data"), MATRIX)
def test_kafka_with_pypi(members: str, data: str) -> None:
    from cloudevents.core.bindings import kafka

    event, peer = ours(members, data), theirs(members, data)
    for sent in (kafka.to_binary_event(peer), kafka.to_structured_event(peer)):
        assert same(KAFKA.read(sent.headers.items(), sent.value), event)
    for carried, read in (
        (KAFKA.binary(event), kafka.from_binary_event),
        (KAFKA.structured(event), kafka.from_structured_event),
    ):
        assert carried.key == MEMBERS[members].get("partitionkey", "")
        headers = {name: value.encode() for name, value in carried.headers}
        alike(read(kafka.KafkaMessage(headers, carried.key or None, carried.body)), event)


@pytest.mark.parametrize(("members", "data"), MATRIX)
def test_rabbitmq_with_pypi(members: str, data: str) -> None:
    """They call the headers `ce-`; the AMQP binding of the standard, and so we, `cloudEvents_`: both are read."""
    from cloudevents.core.bindings import rabbitmq

    sent = rabbitmq.to_binary_event(theirs(members, data))
    assert same(AMQP.read(sent.headers.items(), sent.body, sent.content_type or ""), ours(members, data))
    whole = AMQP.structured(ours(members, data))
    message = rabbitmq.RabbitMQMessage(headers={}, content_type=whole.media, body=whole.body)
    alike(rabbitmq.from_structured_event(message), ours(members, data))


# -- npm

# What comes back is the message as the network would have it: headers, and the body in base64.
WRITE = """
const {CloudEvent, HTTP, MQTT} = require("cloudevents");
const bytes = (body) => Buffer.from(
  body === undefined ? "" : body instanceof Uint8Array || typeof body === "string" ? body : JSON.stringify(body)
).toString("base64");
answer(given.map(({members, data, base64}) => {
  const event = new CloudEvent({...members, data: base64 ? new Uint8Array(Buffer.from(base64, "base64")) : data});
  const of = ({headers, PUBLISH, body}) => ({headers, media: (PUBLISH || {})["Content Type"] || "", body: bytes(body)});
  return {
    http: [HTTP.binary(event), HTTP.structured(event)].map(of),
    mqtt: [MQTT.binary(event), MQTT.structured(event)].map(of),
  };
}));
"""
READ = """
const {HTTP, MQTT} = require("cloudevents");
const bytes = (data) => Buffer.from(
  data instanceof Uint8Array || typeof data === "string" ? data : JSON.stringify(data)
).toString("base64");
answer(given.map(({binding, headers, media, body, text}) => {
  const raw = Buffer.from(body, "base64");
  const message = {headers, body: text ? raw.toString() : raw};
  const event = binding === "HTTP" ? HTTP.toEvent(message)
    : MQTT.toEvent({...message, PUBLISH: {"Content Type": media}});
  const {data, data_base64, ...members} = event.toJSON();
  return {members, body: data_base64 || bytes(data)};
}));
"""


def carried(sent: dict[str, Any]) -> Carried:
    headers = tuple((name, str(value)) for name, value in sent["headers"].items())
    return Carried(headers, base64.b64decode(sent["body"]), sent["media"])


@pytest.mark.service
def test_what_npm_writes_is_read() -> None:
    pairs = [(members, data) for members in MEMBERS for data in DATA]
    given: list[dict[str, Any]] = []
    for members, data in pairs:
        media, value = DATA[data]
        body = {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else {"data": value}
        given.append({"members": {**MEMBERS[members], "datacontenttype": media}, **body})
    for (members, data), sent in zip(pairs, node.run(WRITE, given), strict=True):
        for binding, name in ((HTTP, "http"), (MQTT, "mqtt")):
            for message in map(carried, sent[name]):
                if members != "odd" or "ce-id" not in dict(message.headers):  # see the next test
                    read = binding.read(message.headers, message.body, message.media)
                    assert same(read, ours(members, data)), (members, data, name)


@pytest.mark.service
def test_npm_does_not_escape_headers() -> None:
    """So what it writes is read as it stands, unless it happens to look like an escape."""
    (sent,) = node.run(WRITE, [{"members": {**MEMBERS["odd"], "datacontenttype": "text/plain"}, "data": "x"}])
    message = carried(sent["http"][0])
    read = HTTP.read(message.headers, message.body)
    assert read.subject == MEMBERS["odd"]["subject"]
    assert (dict(message.headers)["ce-id"], read.id) == ("a%20b", "a b")


@pytest.mark.service
def test_what_is_written_npm_reads() -> None:
    given: list[dict[str, Any]] = []
    wanted: list[tuple[Binding, CloudEvent]] = []
    for binding, members, data in ((b, m, d) for b in (HTTP, MQTT) for m in MEMBERS for d in DATA):
        event = ours(members, data)
        for number, message in enumerate((binding.binary(event), binding.structured(event))):
            if members == "odd" and binding is HTTP and number == 0:
                continue  # npm does not read what the standard has escaped
            given.append({
                "binding": binding.name, "headers": dict(message.headers), "media": message.media,
                "body": base64.b64encode(message.body).decode(), "text": data != "bytes" or number == 1,
            })  # fmt: skip
            wanted.append((binding, event))
    for (binding, event), read in zip(wanted, node.run(READ, given), strict=True):
        expected, members = event.attributes(), read["members"]
        assert members.pop("time").replace(".000Z", "Z") == expected.pop("time")
        if (
            binding is MQTT and "datacontenttype" not in members
        ):  # npm looks for it among the user properties alone
            del expected["datacontenttype"]
        assert members == expected, binding.name
        body = base64.b64decode(read["body"])
        if structured.is_json(event.datacontenttype):
            assert json.loads(body) == json.loads(event.data or b"")
        else:
            assert body == event.data
