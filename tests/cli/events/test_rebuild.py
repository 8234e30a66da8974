"""`allotrope events rebuild`: what it answers, and what it refuses."""

from pathlib import Path

from tests.cli.conftest import Allotrope

APP = "tests.cli.shop"


def test_a_view_is_rebuilt_and_its_state_is_kept(allotrope: Allotrope, tmp_path: Path) -> None:
    done = allotrope("events", "rebuild", APP, "Paid", "--folder", str(tmp_path / "app"))
    assert (done.returncode, done.stdout) == (0, f"Paid: rebuilt from the log in {tmp_path / 'app'}\n")


def test_what_cannot_be_rebuilt_is_refused(allotrope: Allotrope, tmp_path: Path) -> None:
    for arguments, said in (
        (("Pai",), "has no view `Pai`. Nearest: `Paid`"),
        (("Paid", "-t", "monolith"), "keeps no log"),
    ):
        done = allotrope("events", "rebuild", APP, *arguments, "--folder", str(tmp_path))
        assert done.returncode == 2
        assert said in " ".join(done.stderr.split())
