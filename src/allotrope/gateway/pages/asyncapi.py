"""The AsyncAPI 3.1 document of a deployment: its events, who sends and takes them, and over which servers.

Operations are those of the app, whatever its architecture; servers and addresses are those of the topology. Payloads
are the schemas of the gateway, as JSON Schema of draft 7, which is what every reader of AsyncAPI knows.
Source: AsyncAPI 3.1.0; CloudEvents 1.0.2.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from allotrope.connectors.cloudevents.bindings import AMQP, HTTP, KAFKA, MQTT, NATS, Binding
from allotrope.connectors.cloudevents.event import OPTIONAL
from allotrope.gateway.offers import offers_of
from allotrope.gateway.pages.schemas import Schema, Schemas
from allotrope.planning.plans import Plan
from allotrope.planning.topology import Sink, Source

VERSION = "3.1.0"
KEPT = "application/vnd.allotrope.event+msgpack"  # how the log has an event: for nobody but its app
_BINDINGS: dict[str, Binding] = {"rabbitmq": AMQP, "mqtt": MQTT, "nats": NATS, "kafka": KAFKA}
_PROTOCOLS = {"mqtts": "secure-mqtt", "tls": "nats", "rediss": "redis-secure", "postgres": "postgresql"}
_STREAMS = {
    "nats": "allotrope.{}",
    "redis": "allotrope:{{{}}}:log",
    "kafka": "allotrope_{}",
    "postgres": "allotrope_{}",
}
_EXTENSIONS = ("partitionkey", "sequence", "traceparent", "tracestate", "correlationid", "causationid")
_REQUIRED = ("specversion", "id", "source", "type")
_ABOUT = (
    "Events arrive at least once: those with the same `source` and `id` are one. Those of one key, `partitionkey`, "
    "keep their order, as `sequence` tells."
)


def asyncapi(plan: Plan, *, closed: bool, host: str = "") -> Schema:
    """Return the document of a plan; `closed` when one has to prove who one is, `host` where its gateway is."""
    from importlib.metadata import version  # it loads a mail library

    writer = _Channels(plan)
    writer.write(closed=closed, host=host)
    return {
        "asyncapi": VERSION,
        "info": {"title": plan.app.name, "version": version("allotrope"), "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": writer.servers,
        "channels": writer.channels,
        "operations": writer.operations,
        "components": {
            "messages": writer.messages,
            "messageTraits": writer.traits,
            "schemas": {name: draft7(schema) for name, schema in writer.schemas.components.items()},
            "securitySchemes": _SECURITY,
        },
    }


class _Channels:
    """Writes the parts of the document; each part names others by reference."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.schemas = plan, Schemas()
        self.offers = {
            offer.event.__name__: offer for offer in offers_of(plan).values() if offer.event is not None
        }
        self.servers: Schema = {}
        self.channels: Schema = {}
        self.operations: Schema = {}
        self.messages: Schema = {}
        self.traits: Schema = {}

    def write(self, *, closed: bool, host: str) -> None:
        secured = [_ref("securitySchemes", "bearer"), _ref("securitySchemes", "key")] if closed else []
        scheme = "https" if self.plan.topology.gateway.certificate else "http"
        self.server("gateway", f"{scheme}://{host or '{host}'}", "The gateway of the app.", secured)
        if not host:
            self.servers["gateway"]["variables"] = {"host": {"default": "127.0.0.1:8000"}}
        log = self.plan.topology.log
        if log.url:
            self.server("log", log.url, "The log of the app; nobody else writes there.", _login(log.url))
        self.door()
        for kind in self.offers:
            self.flow(kind)
        for name, source in self.plan.topology.source.items():
            kinds = [source.event] if source.event else list(self.offers)
            self.connector(f"source.{name}", source, kinds, "receive")
        for name, sink in self.plan.topology.sink.items():
            kinds = [kind for kind in self.offers if {kind, "*"} & {*sink.events}]
            self.connector(f"sink.{name}", sink, kinds, "send")

    def server(self, name: str, url: str, text: str, security: list[Schema]) -> None:
        """Add a server: its address without who comes in, nor what is asked beside."""
        first = urlsplit(url.split(",")[0])
        found = {
            "host": first.netloc.rpartition("@")[2],
            "protocol": _PROTOCOLS.get(first.scheme, first.scheme),
            "description": text,
        }
        if first.path.strip("/"):
            found["pathname"] = first.path
        self.servers[name] = {**found, "security": security} if security else found

    def door(self) -> None:
        """Add the gateway's way in: one channel, and an operation for each event type."""
        made = {kind: self.message(kind, HTTP) for kind in self.offers}
        self.channel("events", "/events", "gateway", list(made.values()))
        for kind, message in made.items():
            self.operation(f"events.{kind}", "receive", "events", f"The gateway takes {kind}.")
            self.operations[f"events.{kind}"]["messages"] = [
                {"$ref": f"#/channels/events/messages/{message}"}
            ]

    def flow(self, kind: str) -> None:
        """Add the way of one event type within the app, and every operation that sends or takes it."""
        topology, event = self.plan.topology, self.offers[kind].event
        kept = topology.log.url and topology.topic_of(kind).via == "log"
        stream = _STREAMS.get(topology.log.kind, "").format(topology.log.name or self.plan.app.name)
        made = self.message(kind, None)
        self.channel(kind, stream if kept else None, "log" if kept else "", [made])
        for part in self.plan.app.components.values():
            if part.is_view and event in part.sources():
                self.operation(f"{part.name}.receives.{kind}", "receive", kind, f"{part.name} counts {kind}.")
            for operation in part.operations:
                title = operation.title
                if event in operation.sources:
                    self.operation(f"{title}.receives.{kind}", "receive", kind, f"{title} takes {kind}.")
                if operation.writes and event in operation.publishes():
                    self.operation(f"{title}.sends.{kind}", "send", kind, f"{title} may publish {kind}.")

    def connector(self, name: str, connector: Source | Sink, kinds: list[str], action: str) -> None:
        """Add a source or sink: a server, a channel and one operation."""
        what = "takes events in" if action == "receive" else "sends events out"
        self.server(name, connector.url, f"Where {name} {what}.", _login(connector.url))
        made = [self.message(kind, _BINDINGS[connector.kind]) for kind in kinds]
        self.channel(name, connector.address, name, made)
        self.operation(name, action, name, f"{name} {what}.")

    def channel(self, name: str, address: str | None, server: str, messages: list[str]) -> None:
        self.channels[name] = {
            "address": address,
            "messages": {message: _ref("messages", message) for message in messages},
            **({"servers": [{"$ref": f"#/servers/{server}"}]} if server else {}),
        }

    def operation(self, name: str, action: str, channel: str, text: str) -> None:
        place = f"#/channels/{channel}"
        messages = [{"$ref": f"{place}/messages/{name}"} for name in self.channels[channel]["messages"]]
        self.operations[name] = {
            "action": action, "channel": {"$ref": place}, "summary": text, "messages": messages,
        }  # fmt: skip

    def message(self, kind: str, binding: Binding | None) -> str:
        """Return the name of the message of an event type, as a protocol or the log carries it."""
        offer = self.offers[kind]
        found: Schema = {
            "name": kind, "title": kind, "contentType": "application/json", "payload": self.schemas.of(offer.shape),
        }  # fmt: skip
        if offer.says:
            found["summary"] = offer.says.partition("\n")[0]
        if binding is None:
            name, found["contentType"] = kind, KEPT
        else:
            name, trait = f"{kind}.{binding.name.lower()}", f"cloudevent.{binding.name.lower()}"
            self.traits[trait] = _trait(binding)
            found["traits"] = [_ref("messageTraits", trait)]
        self.messages[name] = found
        return name


def _trait(binding: Binding) -> Schema:
    """Return what stands beside the data of every CloudEvent."""
    prefix = binding.prefixes[0]
    names = [
        *_REQUIRED,
        *(name for name in OPTIONAL if binding.typed or name != "datacontenttype"),
        *_EXTENSIONS,
    ]
    texts: Schema = {f"{prefix}{name}": {"type": "string", "minLength": 1} for name in names}
    texts[f"{prefix}specversion"] = {"const": "1.0"}
    texts[f"{prefix}time"]["format"] = "date-time"
    needed = [f"{prefix}{name}" for name in _REQUIRED]
    return {
        "summary": f"A CloudEvent over {binding.name}, binary mode.",
        "headers": {"type": "object", "properties": texts, "required": needed},
        "correlationId": {"location": f"$message.header#/{prefix}correlationid"},
    }


_SECURITY: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a signed token."},
    "key": {"type": "httpApiKey", "in": "header", "name": "X-API-Key"},
    "login": {"type": "userPassword", "description": "A user of the broker."},
}


def _login(url: str) -> list[Schema]:
    return [_ref("securitySchemes", "login")] if "@" in url else []


def _ref(table: str, name: str) -> Schema:
    return {"$ref": f"#/components/{table}/{name}"}


def draft7(schema: Any) -> Any:
    """Return a JSON Schema of 2020-12 as one of draft 7: it has tuples by another name, `$ref` alone."""
    if isinstance(schema, list):
        return [draft7(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = dict(_parts(schema))
    if "prefixItems" in found:
        found["items"] = found.pop("prefixItems")
        found["additionalItems"] = False
    if "$ref" in found and len(found) > 1:
        return {"allOf": [{"$ref": found.pop("$ref")}], **found}
    return found


def _parts(schema: Schema) -> Iterator[tuple[str, Any]]:
    for word, value in schema.items():
        if word in ("const", "default", "enum"):  # values, whatever they look like
            yield word, value
        elif word == "properties":
            yield word, {name: draft7(part) for name, part in value.items()}
        else:
            yield word, draft7(value)
