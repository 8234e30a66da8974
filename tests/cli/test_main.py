"""The frame of every verb: quick help, one clear message for what is refused, the right exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import APP, Allotrope, environment


def test_help_lists_the_verbs(allotrope: Allotrope) -> None:
    ended = allotrope("--help")
    assert ended.returncode == 0
    for verb in ("new", "plan", "run", "check", "trace", "replay", "impact"):
        assert f"│ {verb} " in ended.stdout


def test_help_loads_no_verb() -> None:
    code = """if True:
        import sys
        from allotrope.cli.main import main
        sys.argv = ["allotrope", "--help"]
        try:
            main()
        except SystemExit:
            pass
        heavy = ("allotrope.compose", "allotrope.runtime.host", "apsw", "prometheus_client", "asyncio")
        print("\\nLOADED", [name for name in heavy if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"


BROKEN = """
from allotrope import App, component, on, query
@component
class Teller:
    api_key: int = 5
    other: "Missing"
    @query
    async def tell(self, name: Nothing) -> int: ...
app = App("broken", Teller)
"""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("pla", APP), "Refused: there is no verb `pla`. Nearest: `plan`."),
        (("plan",), "APP"),
        (("plan", APP, "--wrong"), "--wrong"),
        (("plan", "shop.py"), "`shop.py` is a path; an app is named by its module, from the folder"),
        (("plan", "./tests/cli/shop.py"), "where it can be imported: `tests.cli.shop`"),
        (("plan", "no.such.app"), "Refused: no module `no.such.app` here"),
        (("plan", "allotrope.compose"), "module `allotrope.compose` has no App called `app`"),
        (("plan", APP, "-t", "none.toml"), "none.toml: no such topology file; presets are"),
    ],
)
def test_what_is_refused_is_one_message(allotrope: Allotrope, arguments: tuple[str, ...], says: str) -> None:
    ended = allotrope(*arguments)
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (ended.stdout, ended.returncode) == ("", 2)


def test_an_app_that_cannot_be_imported_names_its_line(allotrope: Allotrope, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    ended = allotrope("plan", "broken", cwd=tmp_path)
    assert (
        f"`broken` cannot be imported: NameError: name 'Nothing' is not defined ({tmp_path}/broken.py:8)"
        in ended.stderr
    )
    assert ended.returncode == 2


def test_debug_shows_the_traceback(allotrope: Allotrope) -> None:
    ended = allotrope("plan", "no.such.app", "--debug")
    assert "Traceback" in ended.stderr
    assert ended.returncode != 0


def test_all_faults_of_a_plan_are_shown_without_the_secret(allotrope: Allotrope, tmp_path: Path) -> None:
    topology = tmp_path / "own.toml"
    topology.write_text(
        'base = "monolith"\n[setting]\n"Till.tokn" = "never-shown"\n"Till.discount" = "much"\n'
    )
    ended = allotrope("plan", APP, "-t", str(topology))
    assert "PlanRefused: 2 faults in" in ended.stderr
    assert "own.toml:4" in ended.stderr
    assert ended.returncode == 2


def test_the_plan_is_shown_without_the_secret(allotrope: Allotrope, tmp_path: Path) -> None:
    topology = tmp_path / "own.toml"
    topology.write_text('base = "monolith"\n[setting]\n"Till.token" = "never-shown"\n')
    ended = allotrope("plan", APP, "-t", str(topology))
    assert ended.returncode == 0
    assert "shop under" in ended.stdout
    assert "token: str = '***'" in ended.stdout
    assert "never-shown" not in ended.stdout


def test_doubts_are_shown_beside_the_faults(allotrope: Allotrope, tmp_path: Path) -> None:
    lines = ["import time", *BROKEN.replace("Nothing", "str").splitlines()]
    (tmp_path / "broken.py").write_text("\n".join(lines).replace("...", "return time.time_ns()"))
    (tmp_path / "own.toml").write_text('base = "monolith"\ndurability = "powr"\n')
    ended = allotrope("plan", "broken", "-t", "own.toml", cwd=tmp_path)
    assert "own.toml:2  `durability` is 'powr'; it may be none, process, power" in ended.stderr
    assert "likely to be regretted" in ended.stderr
    assert "Teller.tell reads the wall clock, `time.time_ns`" in ended.stderr


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_plan_fits_the_screen_and_cuts_no_word(allotrope: Allotrope, width: int) -> None:
    narrow = allotrope("plan", APP, env={**environment(), "COLUMNS": str(width)}).stdout
    assert max(map(len, narrow.splitlines())) <= width
    wide = allotrope("plan", APP, env={**environment(), "COLUMNS": "500"}).stdout
    assert narrow.split() == wide.split()
