"""Crash points: named places in the life of a write at which a test may end the process. Else nothing."""

from collections.abc import Callable

_hook: Callable[[str], None] | None = None


def reach(name: str) -> None:
    """Tell a test, if one listens, that the process has come to this point."""
    if _hook is not None:
        _hook(name)


def listen(hook: Callable[[str], None] | None) -> None:
    """Let `hook` be called with the name of each point reached; None ends it."""
    global _hook
    _hook = hook
