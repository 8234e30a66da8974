"""Preferences: how long a caller would wait for the end of what it asks for, before it is told where to look.

Source: RFC 7240: `Prefer: respond-async`, `Prefer: wait=10`; what cannot be read or is not known is passed over.
"""

import re

import msgspec

_PART = re.compile(r'\s*([A-Za-z0-9!#$%&\'*+.^_`|~-]+)\s*(?:=\s*(?:"([^"]*)"|([^;,\s"]*)))?[^,]*')


class Preference(msgspec.Struct, frozen=True):
    """What a caller would rather have. `wait_s` is None where it has not said."""

    later: bool = False  # an answer that comes later is welcome
    wait_s: int | None = None

    @property
    def patience_s(self) -> int | None:
        """Return how long it would wait, None where that is for the topology to say."""
        return 0 if self.later and self.wait_s is None else self.wait_s

    def applied(self) -> bytes:
        """Return it as the header `Preference-Applied`; empty when there was nothing to apply."""
        said = ["respond-async"] * self.later
        said += [f"wait={self.wait_s}"] if self.wait_s is not None else []
        return ", ".join(said).encode()


NONE = Preference()


def preference(given: bytes, most_s: int) -> Preference:
    """Return what the header `Prefer` says, with `most_s` to wait; of two that say the same the first one counts."""
    later, wait = False, None
    for found in given.decode("latin-1").split(","):
        part = _PART.fullmatch(found)
        if part is None:
            continue
        name, value = part[1].lower(), part[2] or part[3] or ""
        if name == "respond-async":
            later = True
        elif name == "wait" and wait is None and value.isascii() and value.isdigit():
            wait = min(int(value[:9]), most_s)
    return Preference(later, wait)


def origin_of(given: bytes) -> int | None:
    """Return the origin that the header `Allotrope-Origin` holds, None when it holds none."""
    return int(given) if given.isdigit() and len(given) <= 18 else None
