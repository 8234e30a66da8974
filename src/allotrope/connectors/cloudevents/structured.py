"""CloudEvents as JSON: one, or a batch. What the data is stands in its media type; what is not text is base64.

Source: CloudEvents 1.0.2, JSON event format.
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any

import msgspec

from allotrope.connectors.cloudevents.event import CloudEvent, Value, event_of, unfit
from allotrope.kernel.errors import Refused

MEDIA, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
_JSON = re.compile(r"[^/;]+/([^/;]+\+)?json\s*(;.*)?", re.IGNORECASE)
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s\";]+)", re.IGNORECASE)
_POINT = re.compile(rb"-?[0-9]+(\.0+)")
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_VALUE = msgspec.json.Decoder(Value | None)
_MANY = msgspec.json.Decoder(list[msgspec.Raw])


def is_json(media: str) -> bool:
    """Return whether data of a media type is JSON, as it is where none is named."""
    return not media or _JSON.fullmatch(media.strip()) is not None


def written(event: CloudEvent) -> bytes:
    """Return an event as a JSON object."""
    return msgspec.json.encode(_members(event))


def batch_written(events: Iterable[CloudEvent]) -> bytes:
    """Return events as a JSON array."""
    return msgspec.json.encode([_members(event) for event in events])


def read(body: bytes) -> CloudEvent:
    """Return the event that a JSON object holds. Refused when it is none."""
    members = _parsed(_MEMBERS, body)
    values: dict[str, Value] = {}
    for name, raw in members.items():
        if name in ("data", "data_base64"):
            continue
        try:
            value = _VALUE.decode(_whole(raw))
        except msgspec.MsgspecError:
            raise unfit(name, bytes(raw), "is neither text, an integer nor a boolean") from None
        if value is not None:  # the same as if it were not there
            values[name] = value
    return event_of(values, _data(members, str(values.get("datacontenttype", ""))))


def _whole(raw: msgspec.Raw) -> bytes:
    """Return a number like `1.0` as an integer: for JSON Schema it is one."""
    text = bytes(raw)
    return text[: -len(found[1])] if (found := _POINT.fullmatch(text)) else text


def batch_read(body: bytes, most: int) -> list[CloudEvent]:
    """Return the events of a JSON array, at most so many. Refused, with the number of the one that is none."""
    found = _parsed(_MANY, body)
    if len(found) > most:
        raise Refused(f"a batch has {most:,} events at most, this one {len(found):,}; send it in parts")
    events = []
    for number, raw in enumerate(found):
        try:
            events.append(read(bytes(raw)))
        except Refused as error:
            raise Refused(f"event {number} of the batch: {error}") from None
    return events


def check_media(media: str) -> None:
    """Raise Refused for a structured form that is not read here."""
    name = media.partition(";")[0].strip().lower()
    if name not in (MEDIA, BATCH) or not _is_utf8(media):
        raise Refused(f"a CloudEvent as {media[:80]!r} is not read here; send it as {MEDIA}, in UTF-8")


def _members(event: CloudEvent) -> dict[str, Any]:
    found: dict[str, Any] = event.values()
    data, media = event.data, event.datacontenttype
    if data is None:
        return found
    if is_json(media) and _is_one(data):
        return {**found, "data": msgspec.Raw(data)}
    if media.lower().startswith("text/") and _is_utf8(media):
        try:
            return {**found, "data": data.decode()}
        except UnicodeDecodeError:
            pass
    return {**found, "data_base64": b64encode(data).decode("ascii")}


def _data(members: dict[str, msgspec.Raw], media: str) -> bytes | None:
    plain, coded = members.get("data"), members.get("data_base64")
    if plain is not None and coded is not None:
        raise Refused("a CloudEvent has `data` or `data_base64`; this one has both")
    if coded is not None and bytes(coded) != b"null":
        try:
            return b64decode(msgspec.json.decode(coded, type=str), validate=True)
        except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
            raise Refused(f"`data_base64` of a CloudEvent is no base64: {error}") from None
    if plain is None or bytes(plain) == b"null":
        return None
    if not is_json(media) and bytes(plain)[:1] == b'"':
        return msgspec.json.decode(plain, type=str).encode()
    return bytes(plain)


def _parsed(decoder: Any, body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"this is no CloudEvent in JSON: {error}") from None


def _is_one(data: bytes) -> bool:
    """Return whether data is JSON, as its type says."""
    try:
        msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _is_utf8(media: str) -> bool:
    found = _CHARSET.search(media)
    return found is None or found[1].lower() in ("utf-8", "utf8", "us-ascii")
