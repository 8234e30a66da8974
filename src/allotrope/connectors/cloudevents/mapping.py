"""Mapping: an event of an app as a CloudEvent, and what a CloudEvent from outside means to a host.

Outgoing, an event's name is its id and the app its source, so that a repeated one is known by both. Incoming, both
together are the request id: the log gives a repeated one its first origin.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import msgspec

from allotrope.connectors.cloudevents.event import CloudEvent, Value, is_text
from allotrope.connectors.cloudevents.structured import is_json
from allotrope.kernel import codec
from allotrope.kernel.errors import Refused, nearest
from allotrope.kernel.messages import Event
from allotrope.runtime.doors.arrays import listed
from allotrope.runtime.options import Input
from allotrope.runtime.tracing import check_traceparent
from allotrope.storage.ports import Envelope

DIGITS = 20  # of a sequence: it is compared as text, so all have as many
MOST_PLAIN = 200  # characters of a source with its id that stand in a request id as they are
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder(enc_hook=listed).encode


def outgoing(envelope: Envelope, kind: type[Event], source: str, position: int = 0) -> CloudEvent:
    """Return an event of an app, of its class `kind`, as the outside sees it: `position` is its place in the log."""
    event = codec.decode(envelope.body, kind)
    more: dict[str, Value] = {"correlationid": str(envelope.origin)}
    if is_text(envelope.key):
        more["partitionkey"] = envelope.key
    if position:
        more["sequence"] = f"{position:0{DIGITS}d}"
    if envelope.trace:
        more["traceparent"] = envelope.trace
    if envelope.path:
        more["causationid"] = f"{envelope.origin}{envelope.path.rpartition('/')[0]}"
    return CloudEvent(
        id=envelope.name, source=source, type=envelope.kind, time=time_of(envelope.time or envelope.at),
        datacontenttype="application/json", extensions=more,
        data=_encode({name: getattr(event, name) for name in event.__struct_fields__}),
    )  # fmt: skip


def source_of(app: str) -> str:
    """Return the source of an app's events, where nothing else is said: its name."""
    return quote(app)


def time_of(micros: int) -> str:
    """Return a time in microseconds since 1970 as text."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


def input_of(event: CloudEvent, tenant: str = "", trace: str = "") -> Input:
    """Return what comes with an event from outside: `trace` is the header of the hop, when it has one."""
    carried = event.extensions.get("traceparent", "")
    return Input(
        request=request_of(event), at=event.moment(), tenant=tenant,
        traceparent=check_traceparent(trace) or check_traceparent(str(carried)),
    )  # fmt: skip


def request_of(event: CloudEvent) -> str:
    """Return the request id of an event from outside: one of each source and id."""
    plain = f"{event.source} {event.id}"  # a source has no space, so no two of them are alike
    if len(plain) <= MOST_PLAIN and plain.isascii():
        return plain
    return f"sha256 {sha256(plain.encode()).hexdigest()}"


def json_of(event: CloudEvent) -> bytes:
    """Return an event's data, for whoever reads JSON. Refused when it is none."""
    if not is_json(event.datacontenttype):
        raise Refused(f"the data of a CloudEvent is {event.datacontenttype[:80]!r}; send application/json")
    return event.data or b"{}"


def known(event: CloudEvent, kinds: Any) -> Any:
    """Return what `kinds` has under an event's type. Refused, with the nearest, when it has none."""
    if event.type not in kinds:
        raise Refused(
            f"CloudEvent type `{event.type:.80}` is no event of this app. {nearest(event.type, kinds)}"
        )
    return kinds[event.type]
