"""Topology text as merged values with the place of each key. It reads no file: a base comes by `load`.

The standard TOML reader tells no lines, so the text is scanned once more for where things stand.
"""

import re
import tomllib
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from allotrope.kernel.errors import Refused
from allotrope.kernel.messages import Place

_STRING = r"""\"{3}(?:\\.|[^\\])*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'"""
_TOKEN = re.compile(rf"(?s){_STRING}|#[^\n]*|\n|[\[\]{{}}]|[^\s\[\]{{}}#\"']+|[^\S\n]+")
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_NAME = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*({_NAME})[ \t]*\]")
_KEY = re.compile(rf"[ \t]*({_NAME})[ \t]*=")
_AT = re.compile(r" ?\(at (?:line (\d+), column \d+|end of document)\)$")


class Finding(NamedTuple):
    """What is wrong or poor, and where; findings sort by place."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        """Return one line, as `file:line  text`."""
        return f"{self.file}:{self.line}  {self.text}"


def finding(place: Place, text: str) -> Finding:
    """Return what is wrong at a place."""
    return Finding(place.file, place.line, text)


class Document(msgspec.Struct, frozen=True):
    """A topology as written: merged values, and the place of each dotted key."""

    name: str
    values: dict[str, Any]
    places: dict[str, Place] = {}

    def place(self, *keys: str) -> Place:
        """Return where a key stands; when it is not written itself, its nearest parent, or its first part."""
        for length in range(len(keys), 0, -1):
            if found := self.places.get(".".join(keys[:length])):
                return found
        parts = (place for key, place in self.places.items() if key.startswith(f"{keys[0]}."))
        return next(parts, Place(self.name, 1))


def document_of(text: str, name: str, load: Callable[[str], str]) -> Document:
    """Return the topology that `text` holds, merged over its `base`, whose text `load` gives.

    Raises Refused for text that is no TOML, and for a base that is unknown or leads back to itself.
    """
    return _merged(text, name, load, ())


def _merged(text: str, name: str, load: Callable[[str], str], above: tuple[str, ...]) -> Document:
    values, places = _values(text, name), _places(text, name)
    own = Document(name, values, places)
    base = values.pop("base", None)
    if base is None:
        return own
    place = own.place("base")
    if not isinstance(base, str):
        raise Refused(f"{place}  `base` is {base!r}; give the name of a preset in quotes")
    if base in above:
        raise Refused(f"{place}  the bases go round: {' -> '.join((*above, base))}; drop one")
    try:
        found = load(base)
    except Refused as error:
        raise Refused(f"{place}  `base` is {base!r}: {error}") from None
    under = _merged(found, f"{base}.toml", load, (*above, base))
    return Document(name, _laid(values, under.values), {**under.places, **places})


def _values(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT.search(str(error))
        line = int(at[1]) if at and at[1] else text.count("\n") + 1
        raise Refused(f"{name}:{line}  this is no TOML: {_AT.sub('', str(error))}") from None


def _laid(over: dict[str, Any], under: dict[str, Any]) -> dict[str, Any]:
    """Return `under` with `over` laid on it, table by table; other values are replaced as a whole."""
    laid = dict(under)
    for key, value in over.items():
        below = laid.get(key)
        laid[key] = _laid(value, below) if isinstance(value, dict) and isinstance(below, dict) else value
    return laid


def _places(text: str, name: str) -> dict[str, Place]:
    """Return the place of each table, key and quoted name in an array; the text is known to be sound."""
    places: dict[str, Place] = {}
    table, at = "", 0
    while at < len(text):
        line = text.count("\n", 0, at) + 1
        key = ""
        if header := _HEADER.match(text, at):
            table = _dotted(header[1])
            places.setdefault(table, Place(name, line))
        elif found := _KEY.match(text, at):
            key = ".".join(filter(None, (table, _dotted(found[1]))))
            places.setdefault(key, Place(name, line))
            at = found.end()
        quoted, at = _statement(text, at)
        for item, end in quoted if key else ():
            places.setdefault(f"{key}.{item}", Place(name, text.count("\n", 0, end) + 1))
    return places


def _statement(text: str, at: int) -> tuple[list[tuple[str, int]], int]:
    """Return the quoted names in one statement's brackets, with their ends, and where the next begins."""
    quoted: list[tuple[str, int]] = []
    depth = 0
    while token := _TOKEN.match(text, at):
        at, piece = token.end(), token[0]
        depth += (piece in ("[", "{")) - (piece in ("]", "}"))
        if piece[0] in "\"'" and depth:
            quoted.append((piece.strip("\"'"), at))
        if piece == "\n" and not depth:
            return quoted, at
    return quoted, len(text)


def _dotted(name: str) -> str:
    return ".".join(part.strip("\"'") for part in re.findall(_PART, name))
