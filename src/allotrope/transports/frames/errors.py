"""Errors as they cross a link: the same class at both sides. What an app declares is its own payload."""

import msgspec

from allotrope.kernel.errors import Expired, Failed, Lost, Overloaded, Refused

FAULT, REFUSED, OVERLOADED, EXPIRED, LOST, FAILED, UNREACHABLE = range(7)
TEXT = 10_000  # of a message, in characters
_Told = tuple[str, float | None]


class Unreachable(Refused):
    """Nothing ran: there is no connection, or the server is leaving. Another server may do it."""


class RemoteError(Exception):
    """What a server's code raises to answer with an error of its own; `payload` arrives as it was given."""

    def __init__(self, payload: bytes) -> None:
        super().__init__(f"an error of {len(payload)} bytes")
        self.payload = payload


_CODES: dict[int, type[Refused]] = {
    OVERLOADED: Overloaded,
    EXPIRED: Expired,
    UNREACHABLE: Unreachable,
    REFUSED: Refused,  # the last, since the others are kinds of it
}


def packed(error: BaseException, method: str) -> tuple[int, bytes]:
    """Return code and payload of an error; one of no known kind is told as Failed, in `method`."""
    if isinstance(error, RemoteError):
        return FAULT, error.payload
    text = str(error).encode("utf-8", "replace").decode()[:TEXT]  # a path may hold what is no text
    if isinstance(error, Refused):
        code = next(code for code, kind in _CODES.items() if isinstance(error, kind))
        return code, msgspec.msgpack.encode((text, error.retry_after_s))
    if isinstance(error, Lost):
        return LOST, msgspec.msgpack.encode((text, None))
    if isinstance(error, Failed):
        told = error.component, error.operation, text.split(" failed: ", 1)[-1]
    else:
        component, _, operation = method.rpartition(".")
        told = (component, operation, f"{type(error).__name__}: {text}")
    return FAILED, msgspec.msgpack.encode(told)


def unpacked(code: int, payload: bytes) -> Exception:
    """Return the error; msgspec.DecodeError when the payload is not what its code promises."""
    if code == FAULT:
        return RemoteError(payload)
    if code == FAILED:
        return Failed(*msgspec.msgpack.decode(payload, type=tuple[str, str, str]))
    message, after = msgspec.msgpack.decode(payload, type=_Told)
    if code == LOST:
        return Lost(message)
    return _CODES.get(code, Refused)(message, after)
