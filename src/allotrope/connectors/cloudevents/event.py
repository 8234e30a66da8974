"""One CloudEvent: attributes that are checked once, when it is made, and data as bytes.

Not here: how a protocol carries it (`bindings`), nor what it means to an app (`mapping`).
Source: CloudEvents 1.0.2, sections 2 and 3.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from allotrope.kernel.errors import Refused

Value = str | int | bool
VERSION = "1.0"
MOST_TEXT = 64 * 1024  # characters of all attributes together: what is more belongs in the data
_NAME = re.compile(r"[a-z0-9]+")
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.")
_MEDIA = re.compile(r"[^\s/;,]+/[^\s/;,]+\s*(;.*)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
OPTIONAL = ("subject", "time", "datacontenttype", "dataschema")
NAMED = frozenset(("specversion", "id", "source", "type", *OPTIONAL))


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the standard has it; "" is an attribute that is not there. Whoever holds one holds a valid one."""

    id: str
    source: str
    type: str
    subject: str = ""
    time: str = ""
    datacontenttype: str = ""
    dataschema: str = ""
    extensions: Mapping[str, Value] = {}
    data: bytes | None = None

    def __post_init__(self) -> None:
        """Raise Refused, naming the attribute and its value, when one breaks the standard."""
        for name in ("id", "source", "type"):
            if not getattr(self, name):
                raise Refused(f"a CloudEvent has `{name}`; this one has none, or an empty one")
        for name, value in self.extensions.items():
            if not _NAME.fullmatch(name) or name in NAMED or name == "data":
                raise unfit(
                    name, value, "is no name of an extension: a-z and 0-9 alone, and none of the standard's"
                )
            if value == "":
                raise unfit(name, value, "is empty; leave it out")
            if not isinstance(value, str | bool) and not -(1 << 31) <= value < 1 << 31:
                raise unfit(name, value, "is no integer of 32 bits; send it as text")
        length = 0
        for name, text in self.attributes().items():
            length += len(text)
            if found := _UNFIT.search(text):
                raise unfit(name, text, f"holds U+{ord(found[0]):04X}, which no attribute may hold")
        if length > MOST_TEXT:
            raise Refused(
                f"the attributes of a CloudEvent have {length:,} characters, {MOST_TEXT:,} are the most"
            )
        if re.search(r"\s", self.source):
            raise unfit("source", self.source, "is no URI: it holds a space")
        if self.dataschema and not _ABSOLUTE.match(self.dataschema):
            raise unfit("dataschema", self.dataschema, "is no absolute URI")
        if self.datacontenttype and not _MEDIA.fullmatch(self.datacontenttype):
            raise unfit("datacontenttype", self.datacontenttype, "is no media type")
        if self.time:
            self.moment()

    def moment(self) -> datetime | None:
        """Return when it happened, to the microsecond; None when it does not say. Refused for what is no time."""
        if not self.time:
            return None
        try:
            if _TIME.fullmatch(self.time):  # the second 60 of a leap counts as the one before
                return datetime.fromisoformat(self.time.upper().replace(":60", ":59"))
        except ValueError:
            pass
        raise unfit("time", self.time, "is no time as RFC 3339 has it: 2026-01-31T12:00:00Z")

    def values(self) -> dict[str, Value]:
        """Return all attributes that are there, with their types."""
        found: dict[str, Value] = {
            "specversion": VERSION,
            "id": self.id,
            "source": self.source,
            "type": self.type,
        }
        found.update((name, value) for name in OPTIONAL if (value := getattr(self, name)))
        return {**found, **self.extensions}

    def attributes(self) -> dict[str, str]:
        """Return all attributes that are there, as text in the canonical form of their types."""
        return {name: text_of(value) for name, value in self.values().items()}


def event_of(values: Mapping[str, Value], data: bytes | None) -> CloudEvent:
    """Return the event with these attributes. Refused when one is missing or unfit, or for another version."""
    version = values.get("specversion")
    if version is None:
        raise Refused("this is no CloudEvent: it has no `specversion`")
    if version != VERSION:
        raise unfit("specversion", version, f"is another version; {VERSION} is read here")
    named: dict[str, Any] = {}
    for name in NAMED - {"specversion"}:
        if name in values:
            if not isinstance(values[name], str):
                raise unfit(name, values[name], "is no text")
            if values[name] == "":
                raise unfit(name, "", "is empty; leave it out")
            named[name] = values[name]
    for name in ("id", "source", "type"):
        if name not in named:
            raise Refused(f"this CloudEvent has no `{name}`")
    return CloudEvent(
        **named, extensions={name: value for name, value in values.items() if name not in NAMED}, data=data
    )


def text_of(value: Value) -> str:
    """Return an attribute's value as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def unfit(name: str, value: Any, why: str) -> Refused:
    """Return what to tell whose attribute breaks the standard."""
    return Refused(f"attribute `{name[:40]}` of a CloudEvent is {value!r:.80}: it {why}")


def is_named(name: str) -> bool:
    """Return whether an attribute may be called so."""
    return _NAME.fullmatch(name) is not None and name != "data"


def is_text(value: str) -> bool:
    """Return whether an attribute may hold a text."""
    return value != "" and _UNFIT.search(value) is None
