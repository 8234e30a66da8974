"""Guards: who reads the wall clock or unseeded chance while an operation runs. Seen in the interpreter's own calls.

A profile function sees every call of a C function, however it was imported; so nothing is patched and no answer
changes. Slow: for one run of a check, not for serving.
"""

import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from types import FrameType
from typing import Any

from allotrope.kernel.calls import current

_CLOCKS = {time.time, time.time_ns, time.localtime, time.gmtime, time.ctime, time.strftime}
_CHANCES = {os.urandom, os.getrandom} if hasattr(os, "getrandom") else {os.urandom}
_DATES = {"now", "utcnow", "today"}
_SHARED = random.Random.__init__ and random._inst  # type: ignore[attr-defined]  # the generator behind random.random()


@contextmanager
def watching(packages: set[str]) -> Iterator[set[tuple[str, str]]]:
    """Yield a set that fills with (`Component.operation`, what it read) while user code of `packages` runs."""
    found: set[tuple[str, str]] = set()

    def profile(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and (what := _impure(function)):
            call = current.get()
            if call is not None and _called_by(frame, packages):
                found.add((f"{call.component}.{call.operation}", what))

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def _impure(function: Any) -> str:
    try:
        if function in _CLOCKS:
            return f"the wall clock (time.{function.__name__})"
        if function in _CHANCES:
            return f"unseeded chance ({function.__name__})"
    except TypeError:  # not hashable
        return ""
    owner = getattr(function, "__self__", None)
    if function.__name__ in _DATES and isinstance(owner, type) and issubclass(owner, date | datetime):
        return f"the wall clock ({owner.__name__}.{function.__name__})"
    return "unseeded chance (module random)" if owner is _SHARED else ""


def _called_by(frame: FrameType | None, packages: set[str]) -> bool:
    """Return whether user code asked for it, itself or through a library, before the path leads back to us."""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name in packages:
            return True
        if name.startswith("allotrope."):
            return False
        frame = frame.f_back
    return False
