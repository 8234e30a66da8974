"""Bindings: how protocols carry a CloudEvent. Binary: attributes beside the data; structured: all of it as JSON.

They differ in how an attribute's header is called, whether its value is escaped, and where the media type stands.
Source: CloudEvents 1.0.2, bindings of HTTP, Kafka, NATS, MQTT and AMQP.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

import msgspec

from allotrope.connectors.cloudevents import structured
from allotrope.connectors.cloudevents.event import CloudEvent, event_of, is_named
from allotrope.kernel.errors import Refused

_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_PAIR = re.compile(r"\\(.)")
MOST_IN_A_BATCH = 1000
TYPE = "content-type"


class Carried(msgspec.Struct, frozen=True):
    """An event on its way: headers, body, and what some protocols have a place of their own for."""

    headers: tuple[tuple[str, str], ...]
    body: bytes
    media: str = ""  # MQTT and AMQP: their property `content type`
    key: str = ""  # Kafka: the key of the record, its partition key


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """How one protocol carries events."""

    name: str
    prefixes: tuple[str, ...]  # of the headers; the first one is written, the others are read as well
    escaped: bool = False  # whether values are ASCII with the rest in percent
    apart: bool = False  # whether the media type has a place of its own
    typed: bool = False  # whether the data's media type is an attribute as others are
    keyed: bool = False  # whether the partition key is the key of the message

    def binary(self, event: CloudEvent) -> Carried:
        """Return an event with its attributes in headers and its data as it is."""
        attributes = event.attributes()
        media = "" if self.typed else attributes.pop("datacontenttype", "")
        headers = [
            (self.prefixes[0] + name, quote(text, safe=_SAFE) if self.escaped else text)
            for name, text in attributes.items()
        ]
        return self._carried(event, headers, media, event.data or b"")

    def structured(self, event: CloudEvent) -> Carried:
        """Return an event as one JSON object."""
        return self._carried(event, [], structured.MEDIA, structured.written(event))

    def _carried(self, event: CloudEvent, headers: list[tuple[str, str]], media: str, body: bytes) -> Carried:
        if media and not self.apart:
            headers.append((TYPE, media))
        key = str(event.extensions.get("partitionkey", "")) if self.keyed else ""
        return Carried(tuple(headers), body, media if self.apart else "", key)

    def read(
        self, headers: Iterable[tuple[str, str | bytes]], body: bytes | None, media: str = ""
    ) -> CloudEvent:
        """Return the event that a message carries in either form. Refused, with the reason, when it is none."""
        given = [(name, _text(name, value)) for name, value in headers]
        media = self.media(given, media)
        if is_structured(media):
            structured.check_media(media)
            return structured.read(body or b"")
        values = self._values(given)
        if values.setdefault("datacontenttype", media) != media and media:
            differ = f"{values['datacontenttype']!r:.80} and {media!r:.80}"
            raise Refused(f"this CloudEvent names two media types for its data: {differ}")
        if not values["datacontenttype"]:
            del values["datacontenttype"]
        return event_of(values, body or None)

    def media(self, headers: Iterable[tuple[str, str | bytes]], apart: str = "") -> str:
        """Return the media type of a message, where the protocol has it: beside the headers, or among them."""
        return apart or next((_text(name, value) for name, value in headers if name.lower() == TYPE), "")

    def _values(self, headers: list[tuple[str, str]]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, text in headers:
            prefix = next(
                (prefix for prefix in self.prefixes if name.lower().startswith(prefix.lower())), None
            )
            if prefix is None:
                continue
            attribute = name[len(prefix) :]
            attribute = attribute.lower() if prefix else attribute
            if not is_named(attribute):
                if not prefix:  # a property of somebody else
                    continue
                raise Refused(
                    f"header `{name[:80]}` names no attribute of a CloudEvent: those are of a-z and 0-9"
                )
            if attribute in found:
                raise Refused(f"this CloudEvent has the attribute `{attribute}` twice")
            found[attribute] = unescaped(text, name) if self.escaped else text
        return found


def is_structured(media: str) -> bool:
    """Return whether a message of a media type holds whole events."""
    return media.lower().lstrip().startswith("application/cloudevents")


def is_batch(media: str) -> bool:
    """Return whether a message of a media type holds several events."""
    return media.lower().lstrip().startswith("application/cloudevents-batch")


def unescaped(text: str, name: str) -> str:
    """Return the value of an escaped header: quotes first, then percent. Refused when it is no UTF-8 then."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = _PAIR.sub(r"\1", text[1:-1])
    try:
        return unquote_to_bytes(text).decode() if "%" in text else text
    except UnicodeDecodeError:
        raise Refused(f"header `{name[:80]}` is {text!r:.80}: its percent codes are no UTF-8") from None


def _text(name: str, value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Refused(f"header `{name[:80]}` is {value!r:.80}: it is no UTF-8") from None


HTTP = Binding(name="HTTP", prefixes=("ce-",), escaped=True)
KAFKA = Binding(name="Kafka", prefixes=("ce_",), keyed=True)
NATS = Binding(name="NATS", prefixes=("ce-",), escaped=True, typed=True)
MQTT = Binding(name="MQTT", prefixes=("",), apart=True)
AMQP = Binding(name="AMQP", prefixes=("cloudEvents_", "cloudEvents:", "ce-"), apart=True)
