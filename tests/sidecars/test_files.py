"""Files: a kill at any byte costs no row that was written before, and nothing is finished twice."""

from pathlib import Path
from typing import Any

import pytest

from allotrope.planning.topology import Sidecar

files = pytest.importorskip("allotrope.sidecars.files", exc_type=ImportError)
parquet = pytest.importorskip("pyarrow.parquet")
LIMITS = Sidecar(file_s=3600)


def rows(*positions: int) -> dict[str, list[Any]]:
    plain = {"string": "x", "int64": 1, "timestamp[us, tz=UTC]": 1}
    made = {name: [plain[str(kind)]] * len(positions) for name, kind in files.COLUMNS.items()}
    return made | {"position": list(positions)}


def found(folder: Path) -> list[int]:
    return [
        n
        for path in sorted(folder.glob("*.parquet"))
        for n in parquet.read_table(path)["position"].to_pylist()
    ]


def test_what_a_killed_sidecar_left_is_finished_by_the_next(tmp_path: Path) -> None:
    book = files.Book(tmp_path, "a-1", LIMITS)
    book.write(rows(10, 20))
    book.write(rows(30))
    (left,) = tmp_path.glob(".*.arrow")
    data = left.read_bytes()
    book.close()
    for end in (*range(0, len(data), 64), len(data)):
        folder = tmp_path / str(end)
        folder.mkdir()
        (folder / left.name).write_bytes(data[:end])
        again = files.Book(folder, "a-1", LIMITS)
        assert again.last in (0, 20, 30)
        assert found(folder) == [n for n in (10, 20, 30) if n <= again.last]
        again.close()
        assert [path.name for path in folder.glob(".*")] == []
    assert again.last == 30


def test_a_file_that_is_at_work_is_left_alone_and_another_replicas_is_finished(tmp_path: Path) -> None:
    alive = files.Book(tmp_path, "a-1", LIMITS)
    alive.write(rows(10))
    other = files.Book(tmp_path, "b-1", LIMITS)
    assert (other.last, found(tmp_path)) == (0, [])
    alive.close()
    other.close()
    assert found(tmp_path) == [10]


def test_an_empty_file_leaves_nothing(tmp_path: Path) -> None:
    files.Book(tmp_path, "a-1", LIMITS).close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_large_is_finished(tmp_path: Path) -> None:
    book = files.Book(tmp_path, "a-1", Sidecar(file_mb=1, file_s=3600))
    for start in range(0, 40_000, 5000):
        book.write(rows(*range(start, start + 5000)))
    assert len(list(tmp_path.glob("*.parquet"))) > 1
    book.close()
    assert found(tmp_path) == list(range(40_000))
