"""Secrets: settings whose name says that nobody may read them, masked wherever text leaves the process."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_NAMES = re.compile(r"secret|token|password|key", re.IGNORECASE)
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
    """Return the secret texts in nested settings, as of a topology: those under a secret's name."""
    if isinstance(values, Mapping):
        return {secret for key, value in values.items() for secret in secrets_in(value, str(key))}
    if isinstance(values, list | tuple):
        return {secret for value in values for secret in secrets_in(value, name)}
    return {str(values)} if is_secret(name) and values not in (None, True, False, "") else set()


mask = Mask()
