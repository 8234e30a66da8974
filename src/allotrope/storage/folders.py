"""Folders and files for their owner only: what an app keeps is nobody else's business.

Not here: folders that were there before us. Who may look into those, somebody has decided.
"""

import os
import secrets
from pathlib import Path
from typing import BinaryIO

from allotrope.kernel.errors import Refused


def own(folder: Path, *, always: bool = False) -> None:
    """Make a folder, closed to others, unless it is there; `always` closes one that is. Refused when it cannot be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if always:
            folder.chmod(0o700)
    except OSError as error:
        raise Refused(f"{folder}: cannot keep files there: {error.strerror}; name another folder") from None


def write(path: Path, data: bytes) -> None:
    """Write a file that is not there yet."""
    with open(path, "xb", opener=_private) as file:
        file.write(data)


def replace(path: Path, data: bytes) -> None:
    """Write a file anew: who reads it meanwhile, or after a crash, finds the old one or the new one. Raises OSError."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with open(beside, "xb", opener=_private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def appending(path: Path) -> BinaryIO:
    """Return a file to add to, made if there is none."""
    return open(path, "ab", opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
