import os
import subprocess
import sys
from pathlib import Path

import pytest

from allotrope.cli.new import files, new, unusable
from allotrope.kernel.errors import Refused

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new")
    new("meters", folder=folder)
    return folder / "meters"


def run(app: Path, *command: str) -> str:
    """Run a command beside the app, as its author would."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=app,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_plan_is_accepted(app: Path) -> None:
    assert "Watch.judge  -> Model.surprise" in run(app, "allotrope", "plan", "meters")
    assert "concurrency" not in run(app, "allotrope", "plan", "meters", "--topology", "topology.toml")


def test_its_answers_are_equal_under_every_preset_and_its_own_topology(app: Path) -> None:
    shown = run(app, "allotrope", "check", "meters", "--seeds", "1", "--topology", "topology.toml")
    assert "0 differences" in shown
    assert "topology.toml" in shown


def test_its_tests_pass(app: Path) -> None:
    shown = run(app, "pytest", "-q", "-p", "no:cacheprovider")
    assert "passed" in shown
    assert "warning" not in shown


def test_it_is_written_as_we_write(app: Path) -> None:
    config = ("--isolated", "--line-length", "110", "--no-cache")
    run(
        app, "ruff", "check", *config, "--select", "E,F,I,UP,B,SIM,RUF,C4,PT,D1", "--ignore", "D105,D103", "."
    )
    run(app, "ruff", "format", "--isolated", "--line-length", "110", "--no-cache", "--check", ".")
    run(app, "mypy", "--strict", "--cache-dir", os.devnull, ".")


def test_each_file_is_short() -> None:
    sizes = {path: len(text.splitlines()) for path, text in files("meters") if path.endswith(".py")}
    assert sizes
    assert max(sizes.values()) <= 65, sizes
    assert not any("PROJECT" in path + text for path, text in files("meters"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("json", "hide the module `json` of the standard library; try `json_app`"),
        ("rich", "hide the installed package `rich`; try `rich_app`"),
        ("allotrope", "this library; try `allotrope_app`"),
        ("tests", "its tests go; try `tests_app`"),
        ("My-Shop", "try `my_shop`"),
        ("class", "no Python name"),
        ("match", "no Python name"),
        ("9lives", "no Python name"),
        ("_shop", "no Python name"),
        ("a/b", "no Python name"),
        ("..", "no Python name"),
        ("", "no Python name"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_with_a_way_out(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        new(name, folder=tmp_path)
    assert f"cannot be called `{name}`" in str(refused.value)
    assert says in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_good_name_is_usable() -> None:
    assert [unusable(name) for name in ("shop", "my_shop", "shop2")] == ["", "", ""]


def test_what_is_there_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    with pytest.raises(Refused, match="shop is there already; choose another name"):
        new("shop", folder=tmp_path)
    assert list((tmp_path / "shop").iterdir()) == []
    with pytest.raises(Refused, match="nowhere is no folder"):
        new("shop", folder=tmp_path / "nowhere")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that not even root can write")
def test_a_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(Refused, match="choose a --folder that can be written"):
        new("shop", folder=Path("/proc"))


def test_what_a_run_leaves_is_not_for_git(app: Path) -> None:
    assert ".allotrope/" in (app / ".gitignore").read_text()
