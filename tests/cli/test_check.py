import os
import subprocess
import sys
from pathlib import Path

import pytest

from allotrope import compose
from allotrope.cli.check import Sheet, check, layouts, lines
from allotrope.cli.loading import planned
from allotrope.evidence.check import Divergence, Verdict
from allotrope.evidence.compare import Amounts, Difference
from allotrope.kernel.errors import PlanRefused, Refused

ROOT = Path(__file__).resolve().parent.parent.parent
CLEAN = "tests.evidence.clean.counter"


def run(*arguments: str, columns: int = 80) -> tuple[int, str, str]:
    environment = {**os.environ, "COLUMNS": str(columns), "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "allotrope", "check", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("columns", [80, 120])
def test_equal_answers_are_success(columns: int) -> None:
    code, shown, told = run(CLEAN, "--seeds", "1", columns=columns)
    assert code == 0
    assert all(line.startswith("compared ") for line in told.splitlines())  # how far it is, on a busy machine
    assert "0 differences in " in shown
    assert shown.count("layout  ") == (1 if columns == 120 else 2)
    assert max(map(len, shown.splitlines())) <= columns


def test_a_difference_is_told_with_place_reason_and_remedy() -> None:
    code, shown, _ = run("tests.evidence.planted.set_order", "--seeds", "1", "--presets", "monolith")
    text = " ".join(shown.split())
    assert code == 1
    assert "The answers differ in 1 place." in text
    assert "1 Clerk.note tests/evidence/planted/set_order.py:1" in text
    assert "first on Ordered 'o0': it published Noted with text" in text
    assert "runs 1 of 1: monolith seed 1" in text
    assert "shows with another hash seed" in text
    assert "remedy Sort what comes out of a set" in text


def test_what_cannot_be_checked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(Refused, match="--seeds 0: at least one run"):
        check(CLEAN, seeds=0)
    with pytest.raises(Refused, match=r"no preset or file is called `monolit`. Nearest: `monolith`"):
        check(CLEAN, presets="monolith,monolit")
    with pytest.raises(Refused, match=r"nowhere.toml: no such topology file"):
        check(CLEAN, topology=("nowhere.toml",))
    (tmp_path / "bad.toml").write_text('base = "monolith"\nunits = 3\n')
    with pytest.raises(PlanRefused, match="`units` is no key of a topology"):
        check(CLEAN, topology=(str(tmp_path / "bad.toml"),))
    with pytest.raises(Refused, match=r"has no sample, so there is nothing to replay. Give it one: App\("):
        check("tests.cli.shop")


def test_a_sample_that_yields_nothing_is_a_failure_and_a_broken_one_a_refusal() -> None:
    code, shown, _ = run("tests.evidence.edges:silent", "--seeds", "1", "--presets", "monolith")
    assert (code, "Nothing was compared" in shown) == (1, True)
    code, shown, told = run("tests.evidence.edges:unread", "--seeds", "1", "--presets", "monolith")
    assert (code, shown) == (2, "")
    assert told.startswith("Refused: the sample of app unread failed: RuntimeError: the file of the sample")
    assert "tests/evidence/edges.py:" in told


def test_the_reference_comes_first_and_no_layout_twice() -> None:
    assert layouts("", ())[0] == "monolith"
    assert set(layouts("", ())) == set(compose.presets())
    assert layouts("loopback, monolith", ("a.toml", "a.toml")) == ("loopback", "monolith", "a.toml")


def test_how_far_it_is_is_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    moments = iter([0.0, 4.0, 11.0, 11.0, 20.0, 21.5, 21.5])
    report = lines(10.0, lambda: next(moments))
    for done in range(1, 5):
        report(done, 61)
    assert capsys.readouterr().err == "compared 2 of 61 runs in 11 s\ncompared 4 of 61 runs in 22 s\n"


def sheet(verdict: Verdict) -> str:
    from rich.console import Console

    console = Console(width=120)
    with console.capture() as captured:
        console.print(Sheet(verdict, planned("tests.evidence.clean.outside", "monolith"), 1, 120).shown(1.0))
    return captured.get()


def test_nothing_compared_is_a_failure() -> None:
    verdict = Verdict(counts={"monolith": Amounts(runs=1)})
    assert not verdict.equal
    assert "Nothing was compared: the sample yields no inputs" in sheet(verdict)


def test_what_is_outside_equality_is_listed() -> None:
    verdict = Verdict(counts={"monolith": Amounts(runs=1, inputs=1, excused=2)})
    shown = sheet(verdict)
    assert "Exchange.rate may answer otherwise; its answers are recorded and replayed" in shown
    assert "2 deliveries differed for that reason and were passed over" in shown


def test_secrets_are_masked_in_what_differed() -> None:
    from allotrope.runtime.telemetry.secrets import mask

    mask.learn({"hunter22hunter22"})
    difference = Difference("Clerk.note", "it published 'hunter22hunter22', not nothing", rank=1)
    verdict = Verdict(
        counts={"monolith": Amounts(inputs=1)},
        places={"Clerk.note": Divergence(difference, [("monolith", 1)])},
    )
    assert "hunter22" not in sheet(verdict)
