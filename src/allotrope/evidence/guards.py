"""Guards: who reads the wall clock, unseeded chance or the machine while an operation runs.

Seen in the interpreter's own calls, however a function was imported; so nothing is patched and no answer
changes. Slow: for one run of a check, not for serving. Not here: what a library reads for itself; where that
reaches an answer, the comparison of runs finds it.
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
_SHARED = random._inst  # the generator behind random.random()
_ENVIRONMENT = type(os.environ).__getitem__.__code__
_HERE = "the machine it runs on"
# Whoever asks for the machine through these is who asked.
_ACCESS = {"os", "collections", "platform"}
# These read clocks, chance and the environment for themselves, never for the answer of whoever called them.
_INNOCENT = {
    "asyncio",
    "concurrent",
    "importlib",
    "logging",
    "tempfile",
    "threading",
    "traceback",
    "warnings",
}


@contextmanager
def watching(packages: frozenset[str], varying: frozenset[str]) -> Iterator[set[tuple[str, str]]]:
    """Yield a set that fills with (`Component.operation`, what it read) while user code runs.

    `packages` are user code even where they are installed beside libraries. The operations in `varying` have
    declared that their answers vary, so they are free to read what they like.
    """
    found: set[tuple[str, str]] = set()

    def profile(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            what = _impure(frame, function)
        elif event == "call" and frame.f_code is _ENVIRONMENT:
            what = f"{_HERE} (os.environ)"
        else:
            return
        if not what or (call := current.get()) is None:
            return
        if _asked_by_user(frame, packages, machine=what.startswith(_HERE)):
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
            return f"{_HERE} ({function.__name__})"
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


def _asked_by_user(frame: FrameType | None, packages: frozenset[str], *, machine: bool) -> bool:
    """Return whether user code asked for it, itself or through the standard library.

    That library asks for threads and variables in many places that no answer depends on, such as a repr.
    """
    through = _ACCESS if machine else sys.stdlib_module_names - _INNOCENT
    while frame is not None:
        top = str(frame.f_globals.get("__name__")).partition(".")[0]
        if top in packages:
            return True
        if top not in through:
            ours = top == "allotrope" or top in sys.stdlib_module_names
            return not ours and "-packages" not in frame.f_code.co_filename
        frame = frame.f_back
    return False
