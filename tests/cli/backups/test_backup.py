"""`backup` and `restore` as a person uses them: an app that serves under load, a kill -9, a folder brought back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from tests.cli.conftest import ROOT, Allotrope, environment

APP = "tests.cli.backups.chain"
COUNT = 3000


def line(number: int) -> str:
    data = {"id": f"o{number}", "customer": f"c{number % 9}", "amount": 1 + number % 7}
    return json.dumps({"event": "Sold", "data": data, "request": f"r{number}"})


class Serving:
    """An app that runs in a process group of its own, and takes lines as fast as it can."""

    def __init__(self, folder: Path, preset: str) -> None:
        command = [sys.executable, "-m", "allotrope", "run", APP, "-t", preset, "-d", str(folder), "-i", "-"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=ROOT, env=environment(), start_new_session=True,
        )  # fmt: skip
        self.log = folder / "log.db"
        threading.Thread(target=self._feed, daemon=True).start()

    def _feed(self) -> None:
        assert self.process.stdin is not None
        try:
            for number in range(COUNT):
                self.process.stdin.write(f"{line(number)}\n".encode())
                self.process.stdin.flush()
                time.sleep(0.002)
        except OSError:  # it was killed
            pass

    def taken(self) -> int:
        """Return how many inputs the log has."""
        try:
            log = apsw.Connection(str(self.log), flags=apsw.SQLITE_OPEN_READONLY)
            return int(log.execute("SELECT count(*) FROM entries WHERE path=''").fetchall()[0][0])
        except apsw.Error:
            return 0

    def inputs(self) -> list[tuple[int, int]]:
        """Return position and number of each input, in the order of origins."""
        log = apsw.Connection(str(self.log), flags=apsw.SQLITE_OPEN_READONLY)
        rows = log.execute("SELECT position,request FROM entries WHERE path='' ORDER BY origin").fetchall()
        log.close()
        return [(int(str(position)), int(str(request)[1:])) for position, request in rows]

    def until(self, count: int) -> None:
        """Return once that many inputs were taken."""
        limit = time.monotonic() + 60
        while self.taken() < count:
            assert self.process.poll() is None, "it has ended"
            assert time.monotonic() < limit, f"{self.taken()} of {count} inputs after 60 s"
            time.sleep(0.01)

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


@pytest.fixture(params=["modular-monolith", "microservices"])
def preset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serving(tmp_path: Path, preset: str) -> Iterator[Serving]:
    app = Serving(tmp_path / "app", preset)
    yield app
    app.kill()


def ask(allotrope: Allotrope, folder: Path, preset: str, lines: list[str]) -> list[object]:
    """Return the answers of an app to its inputs and to what is asked at the end."""
    asked = [f'{{"call": "{name}.all"}}' for name in ("Sales", "Bills", "Parcels")]
    text = "\n".join([*lines, *asked])
    done = allotrope("run", APP, "-t", preset, "-d", str(folder), "-i", "-", input=text)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(answer) for answer in done.stdout.splitlines()]
    return [answer.get("answer", answer) for answer in answers[len(lines) :]]


def of(output: str) -> int:
    """Return the origin in what `backup` or `restore` prints."""
    return int(output.split("origin ")[1].split(",  ")[0].split(", 20")[0].replace(",", ""))


def test_what_was_backed_up_under_load_survives_a_kill(
    allotrope: Allotrope, serving: Serving, tmp_path: Path, preset: str
) -> None:
    target = str(tmp_path / "backups")
    origins = []
    for count, since in ((100, ()), (180, ("--since", "last")), (260, ("--since", "last"))):
        serving.until(count)
        done = allotrope("backup", target, "-d", str(tmp_path / "app"), *since)
        assert done.returncode == 0, done.stderr
        assert "read back, sound" in done.stdout
        origins.append(of(done.stdout))
    assert origins == sorted(origins)
    checked = allotrope("events", "verify", "-d", str(tmp_path / "app"))
    assert (checked.returncode, checked.stdout.splitlines()[-1]) == (0, "sound"), checked.stdout
    used = allotrope("restore", target, "-d", str(tmp_path / "app"), "--force")
    assert (used.returncode, "in use by process" in used.stderr) == (2, True)
    serving.kill()
    checked = allotrope("events", "verify", "-d", str(tmp_path / "app"))
    assert checked.returncode == 0, checked.stdout
    whole = allotrope("restore", target, "-d", str(tmp_path / "whole"))
    assert of(whole.stdout) == origins[2]
    middle = (origins[0] + origins[1]) // 2
    inputs = serving.inputs()  # lines that wait at the door together may go in in another order
    position = inputs[middle - 1][0]
    some = allotrope("restore", target, "-d", str(tmp_path / "some"), "--to", str(position))
    assert of(some.stdout) == middle
    assert f"left out: {origins[2] - middle:,} inputs" in some.stdout
    for place, origin in (("whole", origins[2]), ("some", middle)):
        lines = [line(number) for _, number in inputs[:origin]]
        fresh = ask(allotrope, tmp_path / f"fresh-{place}", "modular-monolith", lines)
        assert ask(allotrope, tmp_path / place, preset, []) == fresh


def test_a_restored_folder_knows_its_requests(allotrope: Allotrope, tmp_path: Path) -> None:
    """A caller that repeats what it has asked before gets the old answer, and no second effect."""
    lines = [line(number) for number in range(60)]
    ask(allotrope, tmp_path / "app", "modular-monolith", lines)
    assert allotrope("backup", str(tmp_path / "b"), "-d", str(tmp_path / "app")).returncode == 0
    before = ask(allotrope, tmp_path / "app", "modular-monolith", [])
    assert allotrope("restore", str(tmp_path / "b"), "-d", str(tmp_path / "back")).returncode == 0
    assert ask(allotrope, tmp_path / "back", "modular-monolith", lines) == before


@pytest.fixture(scope="module")
def backed(allotrope: Allotrope, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with an app, stopped, and a backup of it."""
    place = tmp_path_factory.mktemp("backed")
    ask(allotrope, place / "app", "modular-monolith", [line(number) for number in range(30)])
    (place / "app" / "callers.json").write_text("{}")
    (place / "app" / "sink-till.json").write_text('{"position":3}')
    assert allotrope("backup", str(place / "b"), "-d", str(place / "app")).returncode == 0
    return place


def test_the_keys_of_callers_are_copied_by_choice(allotrope: Allotrope, backed: Path) -> None:
    (made,) = (backed / "b").iterdir()
    assert not (made / "callers.json").exists()
    assert (made / "sink-till.json").exists()
    done = allotrope("backup", str(backed / "b2"), "-d", str(backed / "app"), "--secrets")
    (made,) = (backed / "b2").iterdir()
    assert (made / "callers.json").exists(), done.stdout
    assert {path.stat().st_mode & 0o077 for path in (backed / "b2").rglob("*")} == {0}


def test_a_folder_in_the_way_is_kept(allotrope: Allotrope, backed: Path, tmp_path: Path) -> None:
    shutil.copytree(backed / "app", tmp_path / "app")
    command = ("restore", str(backed / "b"), "-d", str(tmp_path / "app"))
    done = allotrope(*command)
    assert (done.returncode, "is not empty; --force keeps" in done.stderr) == (2, True)
    assert allotrope(*command, "--force").returncode == 0
    assert len(list(tmp_path.glob("app.before-*/log.db"))) == 1


def test_what_cannot_be_restored_is_refused(allotrope: Allotrope, backed: Path, tmp_path: Path) -> None:
    shutil.copytree(backed / "b", tmp_path / "b")
    (made,) = (tmp_path / "b").iterdir()
    with (made / "ledger.db").open("r+b") as file:
        file.seek(5000)
        file.write(b"x")
    for arguments, said in (
        ((str(tmp_path / "b"),), "ledger.db: is not what was written, its hash differs"),
        ((str(tmp_path / "none"),), "there is no backup"),
        ((str(backed / "b"), "--to", "9999"), "and 9,999 is asked for"),
        ((str(backed / "b"), "--to", "never"), "`never` is no time"),
    ):
        done = allotrope("restore", *arguments, "-d", str(tmp_path / "to"))
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / "to").exists()


def test_what_cannot_be_backed_up_is_refused(allotrope: Allotrope, backed: Path, tmp_path: Path) -> None:
    for arguments, said in (
        ((str(tmp_path), "-d", str(tmp_path / "none")), "no such folder"),
        ((str(backed / "app" / "b"), "-d", str(backed / "app")), "lies in the app's own folder"),
        ((str(tmp_path / "b"), "-d", str(backed / "app"), "--since", "last"), "there is no backup yet"),
        ((str(backed / "b"), "-d", str(backed / "app"), "--since", "first"), "has no backup `first`"),
    ):
        done = allotrope("backup", *arguments)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
