"""Guards: who reads the wall clock, unseeded chance or the machine while an operation runs.

Seen in the interpreter's own calls, however a function was imported; so nothing is patched and no answer changes.
Slow: for one run of a check, not for serving. Not here: what a library reads for itself; where that reaches an
answer, the comparison of runs finds it.
"""

import os
import random
import socket
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
_MACHINE = {os.getpid, os.getppid, os.uname, socket.gethostname, threading.get_ident, threading.get_native_id}
_DATES = {"now", "utcnow", "today"}
_SHARED = random._inst  # type: ignore[attr-defined]  # the generator behind random.random()
_ENVIRONMENT = type(os.environ).__getitem__.__code__
# These read clocks, chance and the environment for themselves, never for the answer of whoever called them.
_INNOCENT = {"asyncio", "concurrent", "importlib", "logging", "tempfile", "threading", "traceback", "warnings"}


@contextmanager
def watching(varying: frozenset[str] = frozenset()) -> Iterator[set[tuple[str, str]]]:
    """Yield a set that fills with (`Component.operation`, what it read) while user code runs.

    The operations in `varying` have declared that their answers vary, so they are free to read what they like.
    """
    found: set[tuple[str, str]] = set()

    def profile(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            what = _impure(frame, function)
        elif event == "call" and frame.f_code is _ENVIRONMENT:
            what = "the environment (os.environ)"
        else:
            return
        if what and (call := current.get()) is not None and _asked_by_user(frame):
            title = f"{call.component}.{call.operation}"
            if title not in varying:
                found.add((title, what))

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def _impure(frame: FrameType, function: Any) -> str:
    try:
        if function in _CLOCKS:
            return f"the wall clock (time.{function.__name__})"
        if function in _CHANCES:
            return f"unseeded chance (os.{function.__name__})"
        if function in _MACHINE:
            return f"the machine it runs on ({function.__name__})"
    except TypeError:  # not hashable
        return ""
    owner, name = getattr(function, "__self__", None), function.__name__
    if name in _DATES and isinstance(owner, type) and issubclass(owner, date | datetime):
        return f"the wall clock ({owner.__name__}.{name})"
    if owner is _SHARED:
        return "unseeded chance (module random)"
    if name == "seed" and isinstance(owner, random.Random) and frame.f_locals.get("a", 0) is None:
        return "unseeded chance (Random without a seed)"
    return ""


def _asked_by_user(frame: FrameType | None) -> bool:
    """Return whether user code asked for it, itself or through the standard library."""
    while frame is not None:
        top, _, rest = frame.f_globals.get("__name__", "").partition(".")
        if top in _INNOCENT or (top == "allotrope" and rest):
            return False
        if top not in sys.stdlib_module_names:
            return "-packages" not in frame.f_code.co_filename
        frame = frame.f_back
    return False
