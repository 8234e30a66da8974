"""Kill -9 of a whole host at every crash point: nothing lost, nothing doubled, each account in order."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.branch import ACCOUNTS, NUMBERS

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("append", "commit", "reply", "relay", "relayed", "acknowledge")
POINTS = [f"{step}.{side}" for step in STEPS for side in ("before", "after")]
HITS = (1, 3, 7, 12, 20)
RARE = {"acknowledge": (1, 2, 3, 1, 2)}  # a hint, given now and then


def live(folder: Path, level: str, lossy: str = "", crash: str = "", *more: str) -> tuple[int, list[str]]:
    """Return how one life of the bank ended, and its lines."""
    environment = {**os.environ, "ALLOTROPE_LOSSY": lossy, "ALLOTROPE_CRASH": crash}
    command = [sys.executable, "-m", "tests.faults.branch", str(folder), level, *more]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode, ended.stdout.splitlines()


def judge(folder: Path, level: str, lossy: str, crash: str) -> str:
    """Kill one life at a point, let the next one finish, and look at all that is there; return the point."""
    code, told = live(folder, level, lossy, crash)
    assert code == -signal.SIGKILL, f"{crash} was not reached"
    _, lines = live(folder, level, "", "", "look")
    kept = json.loads(lines[-1])
    for line in told:
        account, number = line.split()
        for kind in ("booked", "heard"):
            assert int(number) in kept[kind].get(account, []), f"{crash}: {kind} lost {line}"
    code, lines = live(folder, level)
    assert code == 0
    found = json.loads(lines[-1])
    events = sum(1 for number in range(NUMBERS) if number % 3)
    for account in (f"a{number}" for number in range(ACCOUNTS)):
        for kind in ("booked", "heard"):
            numbers = found[kind][account]
            assert numbers == list(range(NUMBERS)), f"{crash}: {kind} of {account}: {numbers}"
        assert found["counts"][account] == events, f"{crash}: the view of {account}"
    assert len(told) <= ACCOUNTS * NUMBERS
    return crash.split(":")[0]


def judge_all(folder: Path, level: str, lossy: str) -> Counter[str]:
    """Judge every point at five different hits, two lives at a time."""
    hits = {point: RARE.get(point.partition(".")[0], HITS) for point in POINTS}
    places = [f"{point}:{hit}" for point in POINTS for hit in hits[point]]
    with ThreadPoolExecutor(2) as pool:
        lives = enumerate(places)
        return Counter(pool.map(lambda life: judge(folder / str(life[0]), level, lossy, life[1]), lives))


def test_a_kill_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    for place in ("commit.after:9", "append.after:5", "relay.before:4"):
        judge(tmp_path / place.replace(":", "-"), "process", "", place)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("level", "lossy"), [("process", ""), ("power", "1")])
def test_every_point_five_times(tmp_path: Path, level: str, lossy: str, note: Callable[[str], None]) -> None:
    reached = judge_all(tmp_path, level, lossy)
    assert all(reached[point] >= 5 for point in POINTS), reached
    note(f"durability {level}: kills by point {dict(reached)}; 0 lost, 0 doubled, 0 reordered")


def test_the_tool_finds_what_a_weaker_level_loses(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="lost"):
        judge(tmp_path, "process", "1", "reply.after:20")
