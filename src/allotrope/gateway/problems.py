"""Problems: every error as an HTTP status and a body of `application/problem+json`, without internals.

What a caller may see of an error is decided here, once, for HTTP and gRPC. Source: RFC 9457.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any

import msgspec

from allotrope.gateway.link import Visit
from allotrope.kernel.errors import Corrupted, Expired, Failed, Lost, Overloaded, Refused
from allotrope.kernel.messages import Fault
from allotrope.runtime.options import Reused
from allotrope.runtime.telemetry.secrets import mask

log = logging.getLogger("allotrope.gateway")
MEDIA = b"application/problem+json"


class Problem(Exception):
    """An error as the outside sees it. `kind` is its stable name; `extra` stands beside the usual members."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        retry_s: float | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.retry_s = status, kind, detail, retry_s
        self.extra = extra or {}
        self.headers: tuple[tuple[bytes, bytes], ...] = ()

    def body(self, request: str) -> dict[str, Any]:
        """Return its members."""
        return {
            "type": f"urn:allotrope:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": mask(self.detail),
            "instance": f"urn:request:{request}",
            **self.extra,
        }

    def fields(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that it asks for."""
        found = list(self.headers)
        if self.retry_s is not None:
            found.append((b"retry-after", b"%d" % max(1, ceil(self.retry_s))))
        return found


def problem_of(error: Exception, visit: Visit, statuses: Mapping[str, int]) -> Problem:
    """Return what the outside sees of an error; what it may not see is logged under the request's id."""
    request = visit.request
    if isinstance(error, Problem):
        return error
    if isinstance(error, Fault):
        return _fault(error, statuses)
    if isinstance(error, msgspec.ValidationError):
        return Problem(422, "refused", str(error))
    if isinstance(error, Overloaded):
        log.info("request %s: %s", request, error)  # it may name limits, units and places
        return Problem(503, "overloaded", _BUSY, error.retry_after_s or 1.0)
    if isinstance(error, Expired):
        return Problem(504, "expired", "the deadline passed before it could start; nothing ran")
    if isinstance(error, Corrupted):
        log.error("request %s: %s", request, error)
        return Problem(500, "corrupted", "stored data is damaged; its operator has to look")
    if isinstance(error, Reused):
        return Problem(
            422, "reused", "this Idempotency-Key was used before with other values; take a new one"
        )
    if isinstance(error, Refused):
        if error.retry_after_s is not None:
            log.warning("request %s: %s", request, error)
            return Problem(503, "overloaded", _BUSY, error.retry_after_s)
        return Problem(422, "refused", str(error))
    if isinstance(error, Lost):
        late = visit.late  # whatever its text says: a part may have had less time
        text = "the deadline passed while it was at work; " if late else ""
        text += "nobody knows whether it ran; send it again with the same Idempotency-Key"
        return Problem(504 if late else 503, "lost", text, None if late else 1.0)
    if isinstance(error, Failed):
        log.error("request %s: %s", request, error)
        return Problem(
            500, "failed", f"{error.component}.{error.operation} failed; its log names this request"
        )
    log.error("request %s: an error of the gateway", request, exc_info=error)
    return Problem(500, "failed", "an error inside; its log names this request")


_BUSY = "more is asked than can be served now, or a part of this is away; come back later"


def _fault(fault: Fault, statuses: Mapping[str, int]) -> Problem:
    name = type(fault).__name__
    extra = {"fault": name, "fields": fault.body}
    return Problem(statuses.get(name, status_of(type(fault))), f"fault:{name}", str(fault), None, extra)


def status_of(fault: type[Fault]) -> int:
    """Return the status that a fault class declares, `status = 404`, or 409."""
    declared = getattr(fault, "status", None)
    return declared if type(declared) is int and 400 <= declared <= 499 else 409
