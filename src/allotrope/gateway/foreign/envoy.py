"""The envoy: what every call to a foreign unit has in common, however it is sent.

It stands in a process of ours, which has the unit's ledger and partitions like any other: a command that was accepted
here is repeated under the same Idempotency-Key until its end is known, and is not sent again after that.
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from allotrope.kernel.calls import NEVER, Call, current
from allotrope.kernel.errors import Expired, Refused
from allotrope.kernel.operations import Operation
from allotrope.runtime.telemetry.secrets import mask

PATIENCE_S = 30.0  # of a call without a deadline
CONNECT_S = 2.0
LARGEST = 64 << 20  # bytes of an answer


class Envoy(Protocol):
    """Asks the components of one foreign unit."""

    def body(self, operation: Operation) -> Callable[..., Any]:
        """Return what stands for the body of an operation."""

    async def close(self) -> None:
        """Let go of all connections."""


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """Where a foreign unit is, and what is shown there."""

    address: str
    credential: str = ""  # a file
    app: str = ""  # whose commands these are

    @property
    def secure(self) -> bool:
        """Return whether nobody on the way can read along."""
        return urlsplit(self.address).scheme in ("https", "grpcs")

    def check(self) -> None:
        """Raise Refused when the key is not there, or would be shown to everybody on the way."""
        if self.credential:
            self.key()
            host = urlsplit(self.address).hostname
            if not self.secure and host not in ("127.0.0.1", "::1", "localhost"):
                raise Refused(f"{self.address}: an API key goes there over https or grpcs only")

    def key(self) -> str:
        """Return the API key, as it is in its file now. Refused when it cannot be read."""
        if not self.credential:
            return ""
        try:
            found = Path(self.credential).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no ASCII text"
            raise Refused(f"{self.credential}: the key for {self.address} cannot be read: {why}") from None
        mask.learn((found,))
        return found

    def headers(self, operation: Operation, call: Call) -> dict[str, str]:
        """Return what goes with a call, beside its arguments."""
        found = {}
        if key := self.key():
            found["authorization"] = f"Bearer {key}"
        if call.request and call.request.isascii() and call.request.isprintable():
            found["x-request-id"] = call.request
        if call.trace is not None:
            found["traceparent"] = call.trace.traceparent
        if call.deadline != NEVER:
            found["x-deadline-ms"] = str(max(int((call.deadline - perf_counter()) * 1000), 1))
        if operation.writes:
            # The time is that of its acceptance: another log would count its origins from one as well.
            found["idempotency-key"] = f"{self.app}-{call.origin}-{call.at}"
        return found


def patience(call: Call) -> float:
    """Return the seconds that a call may take. Expired when there are none."""
    if call.deadline == NEVER:
        return PATIENCE_S
    left = call.deadline - perf_counter()
    if left <= 0:
        raise Expired(f"{call.component}.{call.operation}: the deadline passed before it could be sent")
    return left


def calling() -> Call:
    """Return the call in progress: a door has set it."""
    call = current.get()
    assert call is not None
    return call


def named(operation: Operation, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Return arguments by the names of their parameters."""
    return dict(zip(operation.parameters(), arguments, strict=True))
