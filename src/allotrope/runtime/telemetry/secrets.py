"""Secrets: settings whose name says that nobody may read them, masked wherever text leaves the process."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import msgspec

_NAMES = re.compile(r"secret|token|password|key", re.IGNORECASE)
_NUMBERS = re.compile(
    r"(secret|token|password|key)$", re.IGNORECASE
)  # `max_tokens` and `key_size` are figures
_LOGIN = re.compile(r"(?:\b(\w+)://|,)([^/@\s,]+)@")  # of each of several servers, joined by commas
_TOKENS = ("nats", "tls")  # schemes under which a user without a password is a token
HIDDEN = "***"


class Mask:
    """Replaces known secrets in text."""

    def __init__(self) -> None:
        """Know none."""
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, values: Iterable[str]) -> None:
        """Hide these from now on."""
        self._values.update(value for value in values if value)
        longest = sorted(self._values, key=len, reverse=True)  # one may be the beginning of another
        self._pattern = re.compile("|".join(map(_guarded, longest))) if longest else None

    @property
    def known(self) -> tuple[str, ...]:
        """Return what is hidden, for a process of ours that has to hide it too."""
        return tuple(sorted(self._values))

    def __call__(self, text: str) -> str:
        """Return `text` without them."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)


def _guarded(value: str) -> str:
    # A short one may be part of any word: only where it stands alone is it likely to be the secret.
    return re.escape(value) if len(value) > 4 else rf"(?<!\w){re.escape(value)}(?!\w)"


def is_secret(name: str) -> bool:
    """Return whether a setting of this name is hidden; of `Component.field` only the field counts."""
    return _NAMES.search(name.rpartition(".")[2]) is not None


def secrets_in(values: Any, name: str = "") -> set[str]:
    """Return the secret texts in nested settings, as of a topology: those under a secret's name, however deep."""
    if isinstance(values, msgspec.Struct):
        values = msgspec.structs.asdict(values)
    if isinstance(values, Mapping):
        names = {str(key): value for key, value in values.items()}
        return {
            secret
            for key, value in names.items()
            for secret in secrets_in(value, name if is_secret(name) and not is_secret(key) else key)
        }
    if isinstance(values, list | tuple | set | frozenset):
        return {secret for value in values for secret in secrets_in(value, name)}
    return {text for text in _texts(values, name) if text} if is_secret(name) else _in_address(values)


def _in_address(value: Any) -> set[str]:
    """Return what an address shows of who may come in: its password, or a token that stands in place of a user."""
    found = set[str]()
    for scheme, login in _LOGIN.findall(value) if isinstance(value, str) else ():
        user, _, password = login.partition(":")
        if shown := password or (user if scheme in _TOKENS else ""):
            found |= {shown, unquote(shown)}
    return found


def _texts(value: Any, name: str) -> tuple[str, ...]:
    """Return how a secret value looks where it is shown; nothing for what says nothing."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="replace"), repr(bytes(value))[2:-1]
    if isinstance(value, UUID):
        return str(value), value.hex
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and _NUMBERS.search(name):
        return (str(value),) if len(str(value)) > 3 else ()
    return ()


mask = Mask()
