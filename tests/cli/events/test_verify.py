"""`allotrope events verify`: each kind of damage is found, with its place."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from allotrope.storage.files import look
from tests.cli.conftest import APP, LINES, Allotrope

Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def kept(allotrope: Allotrope, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "app"
    allotrope("run", APP, "-d", str(folder), "-t", "modular-monolith", "-i", "-", input="\n".join(LINES))
    return folder


def spoil(sql: str, file: str = "log.db") -> Spoil:
    """Return what changes a file behind its app's back, with all checksums of pages right."""

    def change(folder: Path) -> None:
        connection = look(folder / file)
        connection.execute(sql)
        connection.close()

    return change


def flip(file: str, place: float) -> Spoil:
    """Return what flips a bit in a file."""

    def change(folder: Path) -> None:
        with (folder / file).open("r+b") as data:
            data.seek(int(place * os.fstat(data.fileno()).st_size))
            byte = data.read(1)
            data.seek(-1, os.SEEK_CUR)
            data.write(bytes([byte[0] ^ 1]))

    return change


DAMAGES: dict[str, tuple[Spoil, str]] = {
    "body": (
        spoil("UPDATE entries SET body=x'00' WHERE position=4"),
        "log.db position 4: its checksum is wrong",
    ),
    "entry": (spoil("DELETE FROM entries WHERE position=3"), "log.db position 3: missing"),
    "end": (
        spoil("DELETE FROM entries WHERE position>2"),
        "ledger.db origin 6: it has effects of inputs up to",
    ),
    "page": (flip("log.db", 0.3), "log.db: SQLite says: Tree"),
    "ledger page": (flip("ledger.db", 0.3), "ledger.db: SQLite says: Tree"),
    "first page": (flip("ledger.db", 0.0001), "DAMAGED ledger.db"),
    "older ledger": (spoil("UPDATE marks SET number=0", "ledger.db"), "it has come to 0 only: it is older"),
    "record": (
        spoil("UPDATE record SET body=x'c1' WHERE number=2", "ledger.db"),
        "ledger.db decision record 2",
    ),
    "inbox": (
        spoil("INSERT INTO inbox VALUES(2,'/No.one#000','No.two')", "ledger.db"),
        "has taken the event 2/No.one",
    ),
    "log": (lambda folder: (folder / "log.db").unlink(), "log.db: it is missing"),
}


def test_a_sound_folder_is_counted(allotrope: Allotrope, kept: Path) -> None:
    done = allotrope("events", "verify", "-d", str(kept))
    assert done.returncode == 0
    first, counted, last = done.stdout.splitlines()
    assert first == f"ledger.db, log.db in {kept}"
    assert " 10 entries" in counted
    assert " 9 decision records" in counted
    assert last == "sound"


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_named(allotrope: Allotrope, kept: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "app"
    shutil.copytree(kept, folder)
    change, said = DAMAGES[name]
    change(folder)
    done = allotrope("events", "verify", "-d", str(folder))
    assert done.returncode == 1, done.stdout
    assert said in done.stdout
    assert "restore" in done.stdout
    assert "found" in done.stderr


def test_what_is_not_there_is_refused(allotrope: Allotrope, tmp_path: Path) -> None:
    for folder, said in ((tmp_path / "none", "no such folder"), (tmp_path, "there are no files of events")):
        done = allotrope("events", "verify", "-d", str(folder))
        assert (done.returncode, said in done.stderr) == (2, True)
