"""Signing: what goes out, so that a receiver can tell who sent it. Source: Standard Webhooks, 1.0, scheme v1."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from allotrope.gateway.values import to_json
from allotrope.gateway.webhooks.subscriptions import MARK


class Message(msgspec.Struct, frozen=True):
    """One delivery: the same id and body in each attempt."""

    id: str
    body: bytes


def message(ident: str, kind: str, at: int, data: Any) -> Message:
    """Return what is sent of an event; `at` is in microseconds since 1970."""
    moment = datetime.fromtimestamp(at / 1_000_000, UTC).isoformat().replace("+00:00", "Z")
    return Message(ident, to_json({"type": kind, "timestamp": moment, "data": data}))


def headers(sent: Message, secrets: Iterable[str], now: float) -> dict[str, str]:
    """Return the headers of one attempt at a time in seconds since 1970, signed with each secret."""
    moment = str(int(now))
    signed = b"%b.%b.%b" % (sent.id.encode(), moment.encode(), sent.body)
    marks = " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets)
    return {
        "content-type": "application/json", "webhook-id": sent.id, "webhook-timestamp": moment,
        "webhook-signature": marks,
    }  # fmt: skip


def _signature(secret: str, signed: bytes) -> str:
    key = b64decode(secret.removeprefix(MARK))
    return b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii")
