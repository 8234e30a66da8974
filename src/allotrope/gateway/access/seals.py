"""Seals: ids of accepted requests that only their tenant can use, and that nobody can make up.

An id carries all that it stands for, so nothing is kept for it, and it outlives a restart where its secret does. Not
here: what has become of a request (`runtime/intake/inputs.py`).
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

_MARK = 12  # bytes


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """What an id stands for: an input's origin, its kind, and the request id that it came with."""

    origin: int
    kind: str  # an event type, or `Component.operation` of a command
    request: str = ""


class Seals:
    """Makes and reads ids."""

    def __init__(self, secret: bytes) -> None:
        """Use a secret of up to 64 bytes."""
        self._secret = secret

    def sealed(self, ticket: Ticket, tenant: str) -> str:
        """Return the id of a request of a tenant, the same each time."""
        body = msgspec.msgpack.encode(ticket)
        return urlsafe_b64encode(self._mark(body, tenant) + body).rstrip(b"=").decode("ascii")

    def opened(self, ident: str, tenant: str) -> Ticket | None:
        """Return what an id stands for, None when it is none of this tenant."""
        try:
            data = urlsafe_b64decode(ident.encode("ascii") + b"=" * (-len(ident) % 4))
            mark, body = data[:_MARK], data[_MARK:]
            if not hmac.compare_digest(mark, self._mark(body, tenant)):
                return None
            ticket = msgspec.msgpack.decode(body, type=Ticket)
        except (ValueError, msgspec.DecodeError):
            return None
        return ticket if self.sealed(ticket, tenant) == ident else None  # one spelling each

    def name(self, text: str) -> str:
        """Return a name for something that does not give it away, the same each time."""
        return hashlib.blake2b(text.encode(), key=self._secret, digest_size=16, person=b"name").hexdigest()

    def _mark(self, body: bytes, tenant: str) -> bytes:
        given = tenant.encode("utf-8", "surrogatepass")
        said = len(given).to_bytes(4, "big") + given + body
        return hashlib.blake2b(said, key=self._secret, digest_size=_MARK).digest()
