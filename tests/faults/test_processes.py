"""Kill -9 at every crash point while processes are under way: each ends completed or compensated, each effect once."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from random import Random

import msgspec
import pytest

from allotrope.testing.presets import Live, every_preset
from tests.faults.trade import Begun, Compensated, Completed, Poked, Trade, app
from tests.faults.trading import Found, manners

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("append", "commit", "relay", "relayed", "acknowledge")  # nobody waits for a reply here
POINTS = [f"{step}.{side}" for step in STEPS for side in ("before", "after")]
PRESETS = ("modular-monolith", "microservices", "event-driven")
TOPOLOGY = 'base = "{}"\ndurability = "process"\n'
APART = '[unit.each]\ncomponents = ["*"]\neach = true\nreplicas = [{0}, {0}]\n'
DOES = ("ok", "twice")


def expected(first: str, second: str, third: str) -> Found:
    """Return what must become of a trade whose steps are answered like this."""
    completed = first in DOES and second in DOES and third in (*DOES, "late")
    left = ("first",) if first in (*DOES, "late") else ()
    right = ("second",) if first in DOES and second in (*DOES, "late") else ()
    if completed:
        return Found((*left, "third"), right, "completed", ("completed",))
    back = (f"{left[0]} back",) if left else ()
    return Found(left + back, right + (("second back",) if right else ()), "compensated", ("compensated",))


def live(folder: Path, preset: str, seed: int, number: int, crash: str) -> int:
    """Live once, and return how it ended."""
    path = folder / "trade.toml"
    apart = "" if preset == PRESETS[0] else APART.format(1 + seed % 2)
    path.write_text(TOPOLOGY.format(preset) + apart)
    environment = {**os.environ, "ALLOTROPE_FAULTS": str(folder), "ALLOTROPE_CRASH": crash}
    command = [sys.executable, "-m", "tests.faults.trading", str(folder), str(path), str(seed), str(number)]
    ended = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
    )
    assert ended.returncode in (0, -signal.SIGKILL), f"{preset} {crash}: {ended.stderr[-3000:]}"
    return ended.returncode


def judge(folder: Path, preset: str, point: str, seed: int) -> str:
    """Live through one kill, and look at all trades; return the point, "" when it was not reached."""
    folder.mkdir(parents=True)
    most = {"acknowledge": 1, "append": 3, "relay": 6, "relayed": 6}.get(point.partition(".")[0], 40)
    crash = f"{point}:{Random(f'{preset} {point} {seed}').randint(1, most)}"
    if live(folder, preset, seed, 0, crash) != 0:  # else a unit has died, and the host went on
        assert live(folder, preset, seed, 1, crash) == 0
    found = msgspec.json.decode((folder / "end").read_bytes(), type=dict[str, Found])
    for name, manner in manners(seed).items():
        assert found[name] == expected(*manner), f"{preset} {crash} seed {seed}: {name} of {manner}"
    return point if (folder / "hit").exists() else ""


def judged(folder: Path, runs: list[tuple[str, str, int]]) -> Counter[str]:
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda pair: judge(folder / str(pair[0]), *pair[1]), enumerate(runs))
        return Counter(filter(None, done))


def test_a_kill_on_the_way(tmp_path: Path) -> None:
    runs = list(zip(PRESETS, ("commit.after", "commit.before", "relay.after"), range(3), strict=True))
    assert judged(tmp_path, runs).total() == 3


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_point(tmp_path: Path, preset: str, note: Callable[[str], None]) -> None:
    reached = judged(tmp_path, [(preset, point, seed) for seed in range(2) for point in POINTS])
    note(f"processes, {preset}: {reached.total()} kills {dict(reached)}: all completed or compensated, once")
    assert set(reached) == set(POINTS)


@every_preset(app, seeds=2)
async def test_random_answers_under_every_preset(live: Live) -> None:
    trades = manners(live.case.seed)
    for name, manner in trades.items():
        await live.publish(Begun(name, manner))
    await live.at(timedelta(hours=1))
    for name in trades:
        await live.publish(Poked(name))
    await live.settled()
    assert await live.of(Trade).unfinished() == ()
    for kind in (Completed, Compensated):
        wanted = sorted(
            name for name, how in trades.items() if expected(*how).status == kind.__name__.lower()
        )
        assert sorted(event.trade for event in live.events(kind)) == wanted
    contents = (await live.host.site.contents()).tables
    assert len(contents["Trade.ended"]) == len(trades)
