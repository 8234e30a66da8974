"""The OpenAPI 3.1 document of a gateway, from the types of its operations.

A schema says all that the types refuse, so that what it allows is taken: sizes of integers, the form of decimals and
of bytes. Not here: how values are read (`values`). Source: OpenAPI 3.1.1; JSON Schema 2020-12.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

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


def document(name: str, offers: Mapping[str, Offer], statuses: Mapping[str, int], *, closed: bool) -> Schema:
    """Return the document of an app's offers by path; `closed` when one has to prove who one is."""
    from importlib.metadata import version  # it loads a mail library

    writer = _Paths(list(dict.fromkeys(offers.values())), statuses)
    secured: list[Schema] = [{"bearer": []}, {"key": []}] if closed else []
    paths: dict[str, Any] = {path: writer.path(path, offer) for path, offer in offers.items()}
    for path in ("/health/live", "/health/ready"):
        paths[path] = {"get": _health(path)}
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": version("allotrope"), "description": _ABOUT},
        "security": secured,
        "paths": paths,
        "components": {
            "schemas": {**writer.schemas.components, "Problem": _PROBLEM},
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


class _Paths:
    """Writes the paths; the schemas that they name are collected on the way."""

    def __init__(self, offers: list[Offer], statuses: Mapping[str, int]) -> None:
        self.schemas, self.statuses = Schemas(), statuses
        self.titles = [offer.title for offer in offers if offer.operation is not None and not offer.streams]

    def path(self, path: str, offer: Offer) -> Schema:
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
            found["get"]["parameters"] += [
                {
                    "name": field.name,
                    "in": "query",
                    "required": field.required,
                    "schema": self.schemas.of(field.type),
                }
                for field in fields
            ]
        return found

    def asked(self, path: str, offer: Offer) -> Schema:
        headers = ["RequestId", "Deadline", "Traceparent"]
        headers += ["Once"] if offer.kind != "query" else []
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
        ended = "202" if offer.kind == "event" else "200"
        said = {code: {"$ref": f"#/components/responses/E{code}"} for code in _ERRORS}
        return {ended: {"description": _ENDED[offer.kind], "content": content}, **said}

    def answer(self, offer: Offer) -> Schema:
        if offer.operation is not None:
            return self.schemas.of(offer.operation.result())
        if offer.kind == "event":
            return {"type": "object", "required": ["origin"], "properties": {"origin": {"type": "integer"}}}
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
    "event": "It is kept; the number that it got.",
    "facade": "How each part ended.",
    "bundle": "How each part ended.",
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
