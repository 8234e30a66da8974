"""Contracts on the command line: written, compared, made into Python; and a plan against what runs."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import APP, Allotrope, Ran


@pytest.fixture(scope="module")
def kept(allotrope: Allotrope, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("contracts") / "shop.contract.json"
    assert allotrope("contract", APP, "-o", str(path)).returncode == 0
    return path


@pytest.fixture(scope="module")
def narrower(kept: Path) -> Path:
    """The contract of an app that has a query less, as that app would write it."""
    from allotrope.planning.contracts.contract import read_contract, sealed

    found = read_contract(kept.read_text("utf-8"), "kept")
    del found.components["Till"].operations["receipt"]
    path = kept.with_name("narrower.json")
    path.write_text(sealed(found).text(), "utf-8")
    return path


def test_it_is_json_on_stdout_or_in_a_file(allotrope: Allotrope, kept: Path) -> None:
    ran = allotrope("contract", APP)
    assert (ran.returncode, ran.stdout) == (0, kept.read_text("utf-8"))
    assert json.loads(ran.stdout)["app"] == "shop"


def test_two_contracts_are_compared(allotrope: Allotrope, kept: Path, narrower: Path) -> None:
    assert allotrope("contract", "diff", str(kept), str(kept)).stdout == "no changes\n"
    wider = allotrope("contract", "diff", str(narrower), str(kept))
    assert wider.returncode == 0
    assert wider.stdout.splitlines()[-1].endswith("changes, all compatible") or "1 change," in wider.stdout
    gone = allotrope("contract", "diff", str(kept), str(narrower))
    assert gone.returncode == 1
    assert gone.stdout.startswith("Till.receipt: is gone (refused): its callers are refused; keep it")


def test_a_running_app_keeps_its_contract_in_its_folder(allotrope: Allotrope, shop: Ran, kept: Path) -> None:
    assert allotrope("contract", "diff", str(shop.folder), str(kept)).stdout == "no changes\n"


def test_a_plan_is_made_against_what_runs(
    allotrope: Allotrope, kept: Path, narrower: Path, shop: Ran
) -> None:
    same = allotrope("plan", APP, "--against", str(kept))
    assert same.returncode == 0
    assert same.stdout.endswith(f"against {kept}\nno changes\n")
    wider = allotrope("plan", APP, "--against", str(narrower))
    assert wider.returncode == 0
    assert "Till.receipt: is new (provider first)" in wider.stdout
    moved = allotrope("plan", APP, "-t", "microservices", "--against", str(shop.folder))
    assert moved.returncode == 2
    assert "Till: has its state in one process with all others (refused)" in moved.stderr
    here = allotrope("plan", APP, "--against", str(shop.folder))
    assert "units and edges were not compared: no units run there" in here.stderr
    other = allotrope("plan", APP, "-t", "monolith", "--against", "modular-monolith")
    assert (other.returncode, other.stdout) == (2, "")
    assert "1 fault in shop against modular-monolith; nothing was stopped or started" in other.stderr


@pytest.mark.parametrize(
    ("place", "because"),
    [
        ("nowhere.json", "nowhere.json: cannot be read: No such file or directory"),
        ("empty", "has 0 files `*.contract.json`"),
        ("pyproject.toml", "pyproject.toml"),
    ],
)
def test_what_is_no_contract_is_refused(
    allotrope: Allotrope, place: str, because: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    where = place if place != "empty" else str(tmp_path / "empty")
    ran = allotrope("contract", "diff", where, where)
    assert ran.returncode == 2
    assert because in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_stub_is_python(allotrope: Allotrope, kept: Path, tmp_path: Path) -> None:
    out = tmp_path / "shop_contract.py"
    assert allotrope("contract", "stub", str(kept), "-o", str(out)).returncode == 0
    text = out.read_text("utf-8")
    compile(text, str(out), "exec")
    assert "class Till:" in text


def test_samples_are_written_once(allotrope: Allotrope, tmp_path: Path) -> None:
    first = allotrope("contract", "golden", APP, "-o", str(tmp_path / "golden"))
    assert first.returncode == 0
    names = sorted(path.name for path in (tmp_path / "golden").iterdir())
    assert [name.partition(".")[0] for name in names] == ["Ordered", "Priced"]
    again = allotrope("contract", "golden", APP, "-o", str(tmp_path / "golden"))
    assert (again.stdout, again.stderr) == ("", "0 written, 2 there already\n")
