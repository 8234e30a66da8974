"""The three kinds of error, told apart by what the caller may do next. An app's faults are in `messages`."""

import difflib
from collections.abc import Iterable


class Refused(Exception):
    """Nothing ran: mend the code, the input or the configuration, or come back after `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(Refused):
    """Nothing ran: a limit is reached. Come back after `retry_after_s` seconds."""


class Expired(Refused):
    """Nothing ran: the deadline had already passed."""


class PlanRefused(Refused):
    """The app and its topology do not fit; `faults` holds every reason found, one line each."""

    def __init__(self, where: str, faults: tuple[str, ...], beside: tuple[str, ...] = ()) -> None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        lines = (f"{count} in {where}", *(f"  {fault}" for fault in faults), *beside)
        super().__init__("\n".join(lines))
        self.faults = faults


class Corrupted(Refused):
    """Stored data does not match its checksum. Nothing was changed; restore the named file from a backup."""


class Failed(Exception):
    """It ran and raised something it had not declared. Its transaction was rolled back."""

    def __init__(self, component: str, operation: str, cause: str) -> None:
        super().__init__(f"{component}.{operation} failed: {cause}")
        self.component, self.operation, self.cause = component, operation, cause


class Lost(Exception):
    """Nobody knows whether it ran. Repeat it only when it is idempotent, or with the same request id."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence naming the known name closest to `name`, or the list when none is close."""
    names = sorted(known)
    if close := difflib.get_close_matches(name, names, n=1, cutoff=0.5):
        return f"Nearest: `{close[0]}`."
    return f"Known: {', '.join(names) or 'none'}."
