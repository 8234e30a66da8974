"""`python -m examples.fraud` as a person starts it: from nothing to equal answers, and its refusals."""

import re
import signal
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from allotrope import Refused, compose
from examples.fraud.lab.dataset import read, span, write
from examples.fraud.lab.generator import Population, simulate
from examples.fraud.lab.screen import unequal
from examples.fraud.lab.serving import MARK, TOPOLOGY, emptied
from examples.fraud.lab.stream import LEAD_DAYS, Schedule, history, streamed
from examples.fraud.lab.trial import apart

ROOT = Path(__file__).parents[3]
SMALL = ("--customers", "150", "--days", "1", "--seed", "3")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.fraud", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fraud") / "run"


@pytest.fixture(scope="module")
def output(folder: Path) -> str:
    found = _run(*SMALL, "--folder", str(folder))
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stderr == ""
    return found.stdout


def _found(pattern: str, text: str) -> str:
    """Return what the group of a pattern matches, thousands joined."""
    match = re.search(pattern, text, re.MULTILINE)
    assert match, f"no {pattern!r} in:\n{text}"
    return str(match[1]).replace(",", "")


def test_every_preset_gives_equal_answers(output: str) -> None:
    assert "all equal, bit for bit" in output
    served = _found(r"serving +([\d,]+) payments", output)
    assert int(served) > 100
    for preset in compose.presets():
        equal = _found(rf"^  {preset} +(?:none|process|power) .* (\S+) *$", output)
        assert equal == ("reference" if preset == compose.DEFAULT else served)


def test_the_summary_says_how_good_how_fast_and_how_safe(output: str) -> None:
    assert 0.5 < float(_found(r"AUC (\d\.\d+)", output)) <= 1.0
    assert int(_found(r"([\d,]+) decisions per second", output)) > 10
    assert _found(r"durability +(process: survives kill -9)", output)
    assert _found(r"review +(\d+ cases wait|no case waits)", output)
    counts = [int(_found(rf"^  {name} +([\d,]+)", output)) for name in ("approve", "review", "decline")]
    assert sum(counts) == int(_found(r"serving +([\d,]+) payments", output))


def test_what_is_piped_has_no_colours_and_fits_80_columns(output: str) -> None:
    assert "\x1b" not in output
    assert max(map(len, (line for line in output.splitlines() if "allotrope " not in line))) <= 80


def test_the_commands_it_names_work(output: str, folder: Path) -> None:
    commands = re.findall(r"^ +(?:\S+/)?allotrope ((?:trace|replay|impact) .*)$", output, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        found = subprocess.run(
            [sys.executable, "-m", "allotrope", *command.split()],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        assert "Scorer.score" in found.stdout


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years")
    found = _run(*SMALL, "--folder", str(tmp_path))
    assert found.returncode == 2
    assert re.fullmatch(r"Refused: .*`thesis.txt`, which no earlier run has left; .*\n", found.stderr)
    assert (tmp_path / "thesis.txt").read_text() == "ten years"


def test_data_that_cannot_be_used_is_refused_in_one_message(tmp_path: Path) -> None:
    write(simulate(Population(customers=50, terminals=50, days=20)), tmp_path / "short.parquet")
    for data, why in ((tmp_path / "nothing", "No Parquet file at"), (tmp_path, "lower --days")):
        found = _run("--data", str(data), "--folder", str(tmp_path / "run"))
        assert found.returncode == 2
        assert found.stderr.startswith("DataRefused: ")
        assert why in found.stderr
        assert "Traceback" not in found.stderr


def test_what_an_earlier_run_left_goes_or_stays_beside(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for turn, keep, beside in (
        (0, False, []),
        (1, True, ["run.1"]),
        (1, True, ["run.1", "run.2"]),
        (1, False, ["run.1", "run.2"]),
    ):
        said: list[str] = []
        emptied(folder, keep=keep, say=said.append)
        assert not list(folder.iterdir())
        assert sorted(path.name for path in tmp_path.iterdir() if path != folder) == beside
        assert [("moves to" if keep else "is deleted") in text for text in said] == [True] * turn
        (folder / TOPOLOGY).write_text(MARK)
        (folder / "log.db").touch()
        (folder / "fraud.contract.json").touch()


@pytest.mark.parametrize("name", [TOPOLOGY, "notes.txt", "log.txt"])
def test_a_folder_that_no_run_has_made_is_not_emptied(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('base = "monolith"\n')  # as `allotrope new` leaves a topology
    (tmp_path / "log.db").touch()
    if name != TOPOLOGY:
        (tmp_path / TOPOLOGY).write_text(MARK)
    with pytest.raises(Refused, match=f"holds `{name}`, which no earlier run has left; nothing was touched"):
        emptied(tmp_path, keep=False, say=print)
    assert (tmp_path / "log.db").exists()
    assert (tmp_path / name).exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="name a folder that can be written"):
        emptied(tmp_path / "file" / "run", keep=False, say=print)


async def test_ctrl_c_is_held_from_a_process_from_its_first_moment() -> None:
    """One that died of it before it had read what it is to do would keep its parent waiting for ever."""
    assert signal.SIGINT in await apart(signal.pthread_sigmask, signal.SIG_BLOCK, ())
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


# -- the days of a run


def test_a_schedule_leaves_room_for_windows_and_labels() -> None:
    schedule = Schedule.after(date(2018, 6, 18), 7)
    assert schedule.live == date(2018, 8, 8)  # the Handbook's days: trained on 07-25..31, judged on 08-08..14
    assert schedule.training == (date(2018, 7, 25), date(2018, 7, 31))
    assert schedule.first == date(2018, 6, 18)
    assert schedule.days()[-1] == schedule.last == date(2018, 8, 14)


def test_history_and_days_hold_each_payment_and_each_known_label_once() -> None:
    payments = simulate(Population(customers=30, terminals=30, days=LEAD_DAYS + 2, radius=40.0))
    schedule = Schedule.after(date(2018, 4, 1), 2)
    before = list(history(payments, schedule))
    live = [arrival for today in schedule.days() for arrival in streamed(payments, today)]
    assert [arrival.at for arrival in before + live] == sorted(arrival.at for arrival in before + live)
    requests = [arrival.request for arrival in before + live if arrival.event is not None]
    assert len(requests) == len(set(requests))
    kinds = [request.partition("/")[0] for request in requests]
    start, _ = schedule.history
    assert kinds.count("booked") + kinds.count("submitted") == len(payments.between(start, schedule.last))
    assert sum(arrival.event is None for arrival in live) == 48
    late = [arrival for arrival in before + live if arrival.request.startswith("labelled/")]
    paid = {arrival.request.partition("/")[2]: arrival.at for arrival in before if arrival not in late}
    known = [(arrival.at, paid.get(arrival.request.partition("/")[2])) for arrival in late]
    assert {at - then for at, then in known if then is not None} == {timedelta(days=7)}


def test_answers_differ_when_a_bit_does_or_one_is_missing() -> None:
    assert unequal({"a": 0.1, "b": 1}, {"a": 0.1, "b": 1}) == []
    assert unequal({"a": 0.1, "b": 1, "c": 1}, {"a": 0.1 + 2**-56, "b": 1, "d": 1}) == ["a", "c", "d"]


def test_a_data_set_tells_its_days(tmp_path: Path) -> None:
    write(simulate(Population(customers=50, terminals=100, days=6)), tmp_path / "payments.parquet")
    assert span(tmp_path) == (date(2018, 4, 1), date(2018, 4, 6))
    assert len(read(tmp_path, *span(tmp_path))) > 0
