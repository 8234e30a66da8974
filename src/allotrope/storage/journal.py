"""What a write-ahead file promises, read before SQLite does.

SQLite takes the first frame with a wrong checksum for the end of the file: right after a torn write, but one
flipped bit would drop every later commit without a word. So count the commits here, and compare with what it
recovered.
Not here: the checksums of its frames, which SQLite verifies.

Source: SQLite's file format, section 4, "The Write-Ahead Log".
"""

import struct
from pathlib import Path

_HEADER = 32
_FRAME = 24
_MAGIC = (0x377F0682, 0x377F0683)


def commits(path: Path) -> list[int] | None:
    """Return the numbers of the frames that end a transaction, from 1; None when the header is damaged."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return []
    with file:
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return []
        if not _sound(header):
            return None
        step = struct.unpack(">I", header[8:12])[0] + _FRAME
        found = []
        for number in range(1, (path.stat().st_size - _HEADER) // step + 1):
            file.seek(_HEADER + (number - 1) * step)
            frame = file.read(_FRAME)
            # Frames of an earlier round lie behind those of this one, with other salts.
            if frame[8:16] == header[16:24] and frame[4:8] != b"\0\0\0\0":
                found.append(number)
        return found


def _sound(header: bytes) -> bool:
    magic = struct.unpack(">I", header[:4])[0]
    order = ">" if magic & 1 else "<"
    one = two = 0
    for first, second in struct.iter_unpack(order + "II", header[:24]):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return magic in _MAGIC and struct.pack(">II", one, two) == header[24:]
