"""The OpenAPI 3.1 document of a gateway, from the types of its operations.

A schema says all that the types refuse, so that what it allows is taken: sizes of integers, the form of decimals and
of bytes. Not here: how values are read (`values`). Source: OpenAPI 3.1.1; JSON Schema 2020-12.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from allotrope.connectors.cloudevents import structured
from allotrope.connectors.cloudevents.bindings import MOST_IN_A_BATCH
from allotrope.gateway.offers import Offer
from allotrope.gateway.pages.schemas import REF, Schema, Schemas
from allotrope.gateway.service import MOST_PARTS
from allotrope.kernel.messages import Fault, fault_body

_PARAMETERS: dict[str, tuple[str, Schema, str]] = {
    "RequestId": (
        "X-Request-Id",
        {"type": "string"},
        "Your id of this request; it comes back when it has at most 128 characters.",
    ),
    "Deadline": (
        "X-Deadline-Ms",
        {"type": "integer"},
        "How long you wait, in milliseconds; 504 when it passes.",
    ),
    "Traceparent": ("traceparent", {"type": "string"}, "The W3C trace that this is a part of."),
    "Once": (
        "Idempotency-Key",
        {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
        "The same key with the same values gives the same end once more, without a second effect.",
    ),
    "Prefer": (
        "Prefer",
        {"type": "string"},
        "`respond-async`: answer 202 with a place to look at; `wait=10`: not before 10 seconds are over (RFC 7240).",
    ),
    "Last": (
        "Last-Event-ID",
        {"type": "string", "pattern": "^[0-9]{1,18}([.][0-9a-f]+)?:"},
        "The id of the last event that was seen: go on behind it.",
    ),
    "Origin": (
        "Allotrope-Origin",
        {"type": "string", "pattern": "^[0-9]{1,18}$"},
        "What came with the answer of a write: what is read has its effects, or 504.",
    ),
}
_ERRORS = {
    "400": "It cannot be read.",
    "401": "No proof of who asks, or a wrong one.",
    "403": "The scope is missing.",
    "408": "The body did not come in time.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "It does not fit the types, or its Idempotency-Key came before with other values.",
    "429": "Too much was asked; Retry-After says when to come back.",
    "500": "It failed; the log names this request.",
    "503": "Overloaded, shutting down, or nobody knows whether it ran; Retry-After says when to come back.",
    "504": "The deadline passed.",
}


def document(
    name: str,
    offers: Mapping[str, Offer],
    statuses: Mapping[str, int],
    reads: Mapping[str, Offer],
    *,
    closed: bool,
) -> Schema:
    """Return the document of an app's offers and reads by path; `closed` when one has to prove who one is."""
    from importlib.metadata import version  # it loads a mail library

    writer = _Paths(list(dict.fromkeys(offers.values())), statuses)
    secured: list[Schema] = [{"bearer": []}, {"key": []}] if closed else []
    paths: dict[str, Any] = {path: writer.path(path, offer) for path, offer in offers.items()}
    for path, offer in reads.items():
        paths.setdefault(path, {}).update(writer.path(path, offer))
    for path in ("/health/live", "/health/ready"):
        paths[path] = {"get": _health(path)}
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": version("allotrope"), "description": _ABOUT},
        "security": secured,
        "paths": paths,
        "components": {
            "schemas": {**writer.schemas.components, "Problem": _PROBLEM, "Status": _STATUS},
            "parameters": {name: _header(*given) for name, given in _PARAMETERS.items()},
            "responses": {f"E{code}": _failure(text) for code, text in _ERRORS.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


_ABOUT = "Errors are problems (RFC 9457): `type` is their stable name, `instance` the id of the request."
_PROBLEM: Schema = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
    },
}


_STATUS: Schema = {
    "type": "object",
    "required": ["id", "asked", "origin", "state", "settled"],
    "properties": {
        "id": {"type": "string"},
        "asked": {"type": "string"},
        "origin": {"type": "integer"},
        "state": {"enum": ["accepted", "running", "waiting", "done", "failed", "parked"]},
        "settled": {"type": "boolean", "description": "Whether all that it has led to is done as well."},
        "waits": {"type": "string", "description": "What it waits for."},
        "answer": {"description": "the answer of a command"},
        "problem": {"$ref": REF + "Problem"},
    },
}
_PART: Schema = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"type": "integer"},
        "body": {"description": "the answer, when it has one"},
        "problem": {"$ref": REF + "Problem"},
    },
}


def _several(titles: list[str]) -> Schema:
    called = {
        "type": "object",
        "required": ["call"],
        "additionalProperties": False,
        "properties": {"call": {"enum": titles}, "data": {"type": "object", "description": "its arguments"}},
    }
    return {"type": "object", "additionalProperties": called, "maxProperties": MOST_PARTS}


_WORD: Schema = {"type": "string", "pattern": "^[!-~]{1,99}$"}
_NUMBER: Schema = {"type": "integer", "minimum": -(1 << 31), "maximum": (1 << 31) - 1}
_EXTENSION: Schema = {"anyOf": [_WORD, _NUMBER, {"type": "boolean"}, {"type": "null"}]}


def _cloudevent(datas: dict[str, Schema]) -> Schema:
    """Return the schema of a whole CloudEvent, whose data is that of its type."""
    known: Schema = {
        **dict.fromkeys(("id", "source", "subject"), _WORD),
        "specversion": {"const": "1.0"},
        "datacontenttype": {"const": "application/json"},
        "time": {"type": "string", "format": "date-time"},
    }
    return {
        "anyOf": [
            {
                "type": "object",
                "required": [*_NEEDED, "data"],
                "properties": {**known, "type": {"const": kind}, "data": data},
                "additionalProperties": _EXTENSION,
                "propertyNames": {"pattern": "^[a-z0-9]+$"},
            }
            for kind, data in datas.items()
        ]
    }


_NEEDED = ("specversion", "id", "source", "type")


class _Paths:
    """Writes the paths; the schemas that they name are collected on the way."""

    def __init__(self, offers: list[Offer], statuses: Mapping[str, int]) -> None:
        self.schemas, self.statuses = Schemas(), statuses
        self.events = {offer.event.__name__: offer.shape for offer in offers if offer.event is not None}
        self.titles = [offer.title for offer in offers if offer.operation is not None and not offer.streams]

    def path(self, path: str, offer: Offer) -> Schema:
        if offer.methods == ("GET",):
            return {"get": self.looked(path, offer)}
        if offer.kind == "cloudevents":
            return {"post": {**self.asked(path, offer), "requestBody": self.cloudevents()}}
        body = _several(self.titles) if offer.kind == "bundle" else self.schemas.of(offer.shape)
        fields = () if offer.kind == "bundle" else msgspec.structs.fields(offer.shape)
        found = {"post": self.asked(path, offer)}
        found["post"]["requestBody"] = {
            "required": any(field.required for field in fields),
            "content": {"application/json": {"schema": body}},
        }
        if offer.plain:
            found["get"] = self.asked(path, offer)
            found["get"]["operationId"] += ".get"
            found["get"]["parameters"] += self.fields(offer, "query")
        return found

    def cloudevents(self) -> Schema:
        """Return the bodies that hold whole events."""
        whole = _cloudevent({name: self.schemas.of(shape) for name, shape in self.events.items()})
        many = {"type": "array", "items": whole, "maxItems": MOST_IN_A_BATCH}
        content = {structured.MEDIA: {"schema": whole}, structured.BATCH: {"schema": many}}
        return {"required": True, "content": content}

    def looked(self, path: str, offer: Offer) -> Schema:
        """Return how something is read whose last part of the path stands for many."""
        found = self.asked(path, offer)
        for field in self.fields(offer, "query"):
            if f"{{{field['name']}}}" in path:
                field["in"], field["schema"] = "path", {"type": "string", "minLength": 1}
            found["parameters"].append(field)
        if offer.kind == "live":
            found["responses"]["410"] = _failure(
                "What came after the event that was seen last is no longer kept."
            )
        if offer.kind == "status":
            found["responses"]["404"] = _failure("It is none of yours, or older than a day.")
        return found

    def fields(self, offer: Offer, where: str) -> list[Schema]:
        return [
            {
                "name": field.name,
                "in": where,
                "required": field.required,
                "schema": self.schemas.of(field.type),
            }
            for field in msgspec.structs.fields(offer.shape)
        ]

    def asked(self, path: str, offer: Offer) -> Schema:
        headers = ["RequestId", "Deadline", "Traceparent"]
        headers += _HEADERS[offer.kind]
        ident = offer.title if path == offer.path else f"{offer.title}:{path.strip('/')}"
        return {
            "operationId": ident,
            "summary": offer.says.partition("\n")[0],
            "description": offer.says,
            "tags": [offer.title.partition(".")[0]],
            "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in headers],
            "responses": {**self.answers(offer), **self.faults(offer)},
        }

    def answers(self, offer: Offer) -> Schema:
        content: Schema = {"application/json": {"schema": self.answer(offer)}}
        if offer.streams:  # the schema of an event's data has no place of its own
            content = {
                "text/event-stream": {"schema": {"type": "string"}, "x-event-data": self.answer(offer)}
            }
        said: Schema = {code: {"$ref": f"#/components/responses/E{code}"} for code in _ERRORS}
        if offer.kind in ("query", "view"):
            said["409"] = _failure("No input has the origin yet that is to be seen.")
        said["200"] = {"description": _ENDED[offer.kind], "content": content}
        if offer.kind in ("command", "event", "cloudevents"):
            one: Schema = {"$ref": REF + "Status"}
            several = {"anyOf": [one, {"type": "array", "items": one}]}
            status = {"application/json": {"schema": several if offer.kind == "cloudevents" else one}}
            said["202"] = {"description": _LATER, "content": status, "headers": _PLACED}
        return said

    def answer(self, offer: Offer) -> Schema:
        if offer.operation is not None:
            return self.schemas.of(offer.operation.result())
        if offer.kind in ("event", "status", "cloudevents"):
            return {"$ref": REF + "Status"}
        if offer.kind == "live":
            return {}
        if offer.view is not None:
            names = sorted(aggregate.name for aggregate in offer.view.__aggregates__)
            return {"type": "object", "properties": {name: {} for name in names}}
        return {"type": "object", "additionalProperties": _PART}

    def faults(self, offer: Offer) -> Schema:
        found: dict[str, list[type[Fault]]] = {}
        for fault in offer.operation.faults if offer.operation is not None else ():
            found.setdefault(str(self.statuses[fault.__name__]), []).append(fault)
        return {code: self.failure(faults) for code, faults in found.items()}

    def failure(self, faults: list[type[Fault]]) -> Schema:
        says = "; ".join(f"{fault.__name__}: {(fault.__doc__ or '').strip()}" for fault in faults)
        kinds: list[Schema] = [
            {
                "allOf": [
                    {"$ref": REF + "Problem"},
                    {
                        "type": "object",
                        "required": ["fault", "fields"],
                        "properties": {
                            "fault": {"const": fault.__name__},
                            "fields": self.schemas.of(fault_body(fault)),
                        },
                    },
                ]
            }
            for fault in faults
        ]
        return _failure(says, {"anyOf": [*kinds, {"$ref": REF + "Problem"}]})


_ENDED = {
    "query": "The answer.",
    "command": "Its effect is kept; the answer.",
    "cloudevents": "It is kept, and all that it led to is done.",
    "event": "It is kept, and all that it led to is done.",
    "view": "The figures.",
    "live": "The events, each with an id to go on from.",
    "status": "How far it has come.",
    "facade": "How each part ended.",
    "bundle": "How each part ended.",
}


_LATER = "It is kept; how far it has come, and in Location where to look again."
_PLACED: Schema = {
    "Location": {"schema": {"type": "string"}, "description": "Where its status is found."},
    "Allotrope-Origin": {
        "schema": {"type": "integer"},
        "description": "Its number, for who reads its effects.",
    },
}
_HEADERS: dict[str, list[str]] = {
    "query": ["Origin"],
    "view": ["Origin"],
    "status": ["Prefer"],
    "live": ["Last"],
    "command": ["Once", "Prefer"],
    "event": ["Once", "Prefer"],
    "cloudevents": ["Prefer"],
    "facade": ["Once", "Prefer", "Origin"],
    "bundle": ["Once", "Prefer", "Origin"],
}


def _header(name: str, schema: Schema, text: str) -> Schema:
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": text}


def _failure(text: str, schema: Schema | None = None) -> Schema:
    found = schema or {"$ref": REF + "Problem"}
    return {"description": text, "content": {"application/problem+json": {"schema": found}}}


def _health(path: str) -> Schema:
    return {
        "operationId": path.strip("/").replace("/", "."),
        "summary": "Whether the process lives." if path.endswith("live") else "Whether it takes requests.",
        "tags": ["health"],
        "security": [],
        "responses": {"200": {"description": "It does."}, "503": {"description": "It does not."}},
    }
