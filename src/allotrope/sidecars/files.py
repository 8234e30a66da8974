"""Files: the request log on disk. Rows go to a file that a kill cannot spoil, and from there to finished Parquet.

Only finished files end in `.parquet`: they never change, and the oldest make room. Not here: what a row says.
"""

import fcntl
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, time
from typing import Any

import pyarrow
from pyarrow import ipc, parquet

from allotrope.planning.topology import Sidecar

log = logging.getLogger("allotrope.sidecars")
_TEXT, _COUNT = pyarrow.string(), pyarrow.int64()
COLUMNS: dict[str, Any] = {
    "time": pyarrow.timestamp("us", tz="UTC"),
    "unit": _TEXT,
    "replica": _TEXT,
    "operation": _TEXT,
    "took_us": _COUNT,
    "status": _TEXT,
    "origin": _COUNT,  # 0 for what no input of ours has led to
    "path": _TEXT,
    "tenant": _TEXT,
    "request": _TEXT,
    "trace": _TEXT,
    "asked_bytes": _COUNT,
    "answered_bytes": _COUNT,
    "arguments": _TEXT,  # JSON, where they are switched on
    "position": _COUNT,  # where the ring stood behind it: in order, each once
}
_SCHEMA = pyarrow.schema(list(COLUMNS.items()))
_OPEN = ".arrow"  # how the name of an unfinished file ends; it begins with a dot


class Book:
    """The files of one replica in the folder of its unit."""

    def __init__(self, folder: Path, name: str, limits: Sidecar) -> None:
        """Finish what an earlier sidecar has left, the one of this name or of a replica that is gone."""
        self.folder, self.name, self.limits = folder, name, limits
        folder.mkdir(parents=True, exist_ok=True)
        self.last = max((self._salvaged(path) for path in sorted(folder.glob(f".*{_OPEN}"))), default=0)
        self._open()

    def _open(self) -> None:
        stamp = f"{time():017.6f}".replace(".", "-")
        self._path = self.folder / f".{stamp}-{self.name}{_OPEN}"
        self._lock = os.open(self._path, os.O_CREAT | os.O_RDONLY, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # held while this process lives: nobody else finishes it
        self._file = pyarrow.OSFile(str(self._path), "wb")
        self._writer = ipc.new_stream(self._file, _SCHEMA)
        self._begun, self._empty = monotonic(), True

    def write(self, rows: Mapping[str, Sequence[Any]]) -> None:
        """Keep rows, column by column, from now on even if this process is killed."""
        arrays = [pyarrow.array(rows[name], kind) for name, kind in COLUMNS.items()]
        self._writer.write_batch(pyarrow.record_batch(arrays, schema=_SCHEMA))
        self._empty = False
        self.turn()

    def turn(self) -> None:
        """Finish the file and begin another, once it is large or old enough."""
        old = monotonic() - self._begun >= self.limits.file_s
        if not self._empty and (old or self._file.tell() >= self.limits.file_mb << 20):
            self.close()
            self._open()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
        self._file.close()
        self._finish(self._path)
        os.close(self._lock)

    def _salvaged(self, path: Path) -> int:
        """Finish a file whose writer is gone; return the last position in it if it has our name, else 0."""
        try:
            lock = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # another sidecar of the unit was quicker
            return 0
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            table = self._finish(path)
        except BlockingIOError:
            return 0
        finally:
            os.close(lock)
        mine = path.name.endswith(f"-{self.name}{_OPEN}")
        return int(table["position"][-1].as_py()) if mine and table.num_rows else 0

    def _finish(self, path: Path) -> Any:
        """Return the whole rows of a file, made into one that is finished."""
        table = _rows(path)
        if table.num_rows:
            finished = self.folder / f"{path.name[1:].removesuffix(_OPEN)}.parquet"
            fresh = path.with_suffix(".fresh")
            parquet.write_table(table, fresh, compression="zstd")
            fresh.replace(finished)  # done again after a kill, it comes out the same
        path.unlink(missing_ok=True)
        for old in sorted(self.folder.glob("*.parquet"))[: -self.limits.files]:
            old.unlink(missing_ok=True)
        return table


def _rows(path: Path) -> Any:
    batches: list[Any] = []
    try:
        with pyarrow.OSFile(str(path), "rb") as file, ipc.open_stream(file) as stream:
            for batch in stream:
                batches.append(batch)  # one by one: those before a damaged one are kept
    except (pyarrow.ArrowInvalid, OSError) as error:
        log.info("%s ends in the middle of a batch: %s", path, error)
    return pyarrow.Table.from_batches(batches, _SCHEMA).combine_chunks()
