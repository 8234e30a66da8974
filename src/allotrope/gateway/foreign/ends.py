"""Ends: what somebody else's answer means here. The reverse of `problems`, which says what ours mean there.

Who implements a component in another language needs no more than: 200 and JSON, or `application/problem+json`. A fault
is told by the members `fault` and `fields`; all else by `type`, and where that says nothing by the status.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from allotrope.kernel import codec
from allotrope.kernel.errors import Expired, Failed, Lost, Overloaded, Refused
from allotrope.kernel.operations import Operation
from allotrope.runtime.effects.ended import declared

_PREFIX = "urn:allotrope:"
_BUSY, _UNSURE = {429, 503}, {408, 502, 504}
_WORDS = 500  # characters of what a stranger says, that are passed on


class Told(msgspec.Struct):
    """A problem as it came."""

    type: str = ""
    title: str = ""
    detail: str = ""
    fault: str = ""
    fields: dict[str, Any] = {}

    @property
    def kind(self) -> str:
        """Return its name, "" for one that we do not know."""
        return self.type.removeprefix(_PREFIX) if self.type.startswith(_PREFIX) else ""


def told(body: bytes) -> Told:
    """Return the problem in a body, an empty one when there is none."""
    try:
        return msgspec.json.decode(body, type=Told)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Told(detail=body[:_WORDS].decode("utf-8", "replace"))


def error_of(operation: Operation, status: int, problem: Told, retry_s: float | None = None) -> Exception:
    """Return what an answer with a status of 300 and above is here."""
    name = problem.fault or (problem.kind.removeprefix("fault:") if problem.kind.startswith("fault:") else "")
    if name:
        try:
            return declared(operation, name, codec.encode(problem.fields))
        except msgspec.ValidationError as error:
            cause = f"it raised {name}, whose fields do not fit: {error}"
            return Failed(operation.component, operation.name, cause)
    words = re.sub(r"[^\x20-\x7e\u00a0-\uffff]+", " ", problem.detail or problem.title or f"status {status}")
    text = f"{operation.title}, elsewhere: {words[:_WORDS]}"
    if problem.kind == "expired":
        return Expired(text)
    if problem.kind == "lost" or (not problem.kind and status in _UNSURE):
        return Lost(text)
    if status in _BUSY:
        return Overloaded(text, retry_s or 1.0)
    if status >= 500:
        return Failed(operation.component, operation.name, words[:_WORDS])
    return Refused(text)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `Retry-After` asks for; a date there is not understood."""
    try:
        return min(max(float(headers.get("Retry-After", "")), 0.0), 60.0)
    except ValueError:
        return None
