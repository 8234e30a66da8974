"""Kill -9 at every crash point, under three presets: nothing lost, nothing doubled, each account in order."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import msgspec
import pytest

from allotrope.testing.history import Diary, History, examined
from tests.faults.branch import LEADS, NUMBERS, End, lines

ROOT = Path(__file__).resolve().parents[2]
Note = Callable[[str], None]
STEPS = ("append", "commit", "reply", "relay", "relayed", "acknowledge")
CHANGES = ("claim", "release")  # of a lease
PRESETS = ("modular-monolith", "microservices", "event-driven")
TOPOLOGY = 'base = "{}"\ndurability = "{}"\n'
APART = '[unit.each]\ncomponents = ["*"]\neach = true\nreplicas = [{0}, {0}]\n'


class Run(msgspec.Struct, frozen=True):
    """One history with one fault: where, at which visit, under what."""

    preset: str
    point: str
    nth: int
    seed: int = 0
    level: str = "process"
    lossy: str = ""

    @property
    def unit(self) -> str:
        """Return of which unit the partitions move, where the fault is about that."""
        return ("Teller", "Auditor")[self.seed % 2] if self.point.startswith(CHANGES) else ""

    def __str__(self) -> str:
        """Return what to run again."""
        return f"{self.preset} {self.point}:{self.nth} seed {self.seed}, {self.level} {self.lossy}"


def drawn(preset: str, seeds: Sequence[int], level: str = "process", lossy: str = "") -> list[Run]:
    """Return runs over all points that a preset has, each with another visit for every seed."""
    steps = STEPS if preset == "modular-monolith" else STEPS + CHANGES
    points = [f"{step}.{side}" for step in steps for side in ("before", "after")]
    return [
        Run(preset, point, nth_of(point, Random(f"{preset} {point} {seed}")), seed, level, lossy)
        for seed in seeds
        for point in points
    ]


def nth_of(point: str, chance: Random) -> int:
    """Return a visit that comes in every life: of some there are few."""
    most = {"acknowledge": 2, "claim": 1, "release": 1, "relay": 6, "relayed": 6}.get(
        point.partition(".")[0], 15
    )
    return chance.randint(1, most)


def live(folder: Path, run: Run, **faults: str) -> int:
    """Live once, and return how it ended."""
    path = folder / "bank.toml"
    several = APART.format(1 + run.seed % 2 if not run.unit else 1)
    path.write_text(TOPOLOGY.format(run.preset, run.level) + ("" if run.preset in PRESETS[:1] else several))
    environment = {**os.environ, "ALLOTROPE_FAULTS": str(folder), **faults}
    command = [
        sys.executable,
        "-m",
        "tests.faults.branch",
        str(folder),
        str(path),
        *([run.unit] if run.unit else []),
    ]
    ended = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode in (0, -signal.SIGKILL), f"{run}: {ended.stderr[-3000:]}"
    return ended.returncode


def judge(folder: Path, run: Run, **fault: str) -> Run | None:
    """Live through one fault, a kill if none is named; return the run if it fell into work, and nothing is wrong."""
    folder.mkdir(parents=True)
    fault = fault or {"ALLOTROPE_CRASH": f"{run.point}:{run.nth}", "ALLOTROPE_LOSSY": run.lossy}
    if live(folder, run, **fault) != 0:  # else a unit has died, and the host went on
        assert live(folder, run) == 0
    end = msgspec.json.decode((folder / "end").read_bytes(), type=End)
    acts = Diary.read(lines(folder))
    found = examined(History(acts, end.marks, LEADS))
    assert not found, f"{run}: {'; '.join(map(str, found))}"
    sent = Counter(mark.key for mark in end.marks if mark.place == "log" and int(mark.value) % 3)
    assert end.counts == sent, f"{run}: the view"
    assert min(Counter(mark.key for mark in end.marks).values()) >= 4 * NUMBERS
    hit = folder / "hit"
    at = float(hit.read_text().split()[2]) if hit.exists() else 0.0
    return run if min(act.began for act in acts) < at < end.settled else None


def judged(folder: Path, runs: Sequence[Run]) -> Counter[str]:
    """Judge them, two at a time, and return how often each point was hit in the middle of work."""
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda pair: judge(folder / str(pair[0]), pair[1]), enumerate(runs))
        return Counter(run.point for run in done if run is not None)


def test_a_kill_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    places = [
        Run("modular-monolith", "append.after", 5),
        Run("modular-monolith", "relay.before", 4),
        Run("microservices", "commit.after", 9),
        Run("event-driven", "release.after", 1),
    ]
    assert judged(tmp_path, places) == Counter(run.point for run in places)


def told(runs: Sequence[Run], reached: Counter[str]) -> str:
    counts = ", ".join(f"{point} {reached[point]}" for point in sorted({run.point for run in runs}))
    total, found = reached.total(), "0 lost, 0 doubled, 0 reordered within a key"
    return f"{total} kills in the middle of work, {len(runs) - total} not counted; {found}; {counts}"


@pytest.mark.long
@pytest.mark.timeout(1400)
def test_every_point_under_three_presets(tmp_path: Path, note: Note) -> None:
    """Seeds are shared out by what a life costs: one of a fleet takes four times as long."""
    reached = Counter[str]()
    for preset, seeds in zip(PRESETS, (7, 4, 4), strict=True):
        runs = drawn(preset, range(seeds))
        found = judged(tmp_path / preset, runs)
        note(f"{preset}: {told(runs, found)}")
        assert min(found[run.point] for run in runs) >= 2, found
        reached += found
    assert reached.total() >= 200
    assert len(reached) == 2 * len(STEPS + CHANGES)
    assert min(reached.values()) >= 5, reached
    note(
        f"three presets: {reached.total()} kills at {len(reached)} points, each at least {min(reached.values())} times"
    )


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_point_with_the_power_cut(tmp_path: Path, note: Note) -> None:
    runs = drawn("modular-monolith", range(6), "power", "1")
    reached = judged(tmp_path, runs)
    note(f"durability power, kill and unsynced writes dropped: {told(runs, reached)}")
    assert min(reached[run.point] for run in runs) >= 5, reached


@pytest.mark.parametrize(("preset", "seconds"), [("modular-monolith", -7200), ("event-driven", 7200)])
def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, preset: str, seconds: int) -> None:
    run = Run(preset, "commit.before", 5)
    assert judge(tmp_path / "run", run, ALLOTROPE_CLOCK=f"commit.before:5:{seconds}") is run


def test_the_tool_finds_what_a_weaker_level_loses(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="lost: "):
        judge(tmp_path / "run", Run("modular-monolith", "reply.after", 12, 0, "process", "1"))


def test_a_run_without_its_fault_is_not_counted(tmp_path: Path) -> None:
    assert judged(tmp_path, [Run("modular-monolith", "append.after", 100_000)]).total() == 0
