"""Kill -9 around parking, redriving and discarding: no letter is lost or delivered twice, and keys keep their order."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from allotrope.compose import build
from allotrope.engines.desk import Desk, Wish
from allotrope.runtime.effects.letters import Search
from allotrope.runtime.options import Options
from tests.faults.ward import NAMES, NUMBERS
from tests.runtime.effects.ward import Follows, Job, Works, app

ROOT = Path(__file__).resolve().parents[2]
POINTS = [
    f"{step}.{side}" for step in ("append", "commit", "relay", "relayed") for side in ("before", "after")
]
VISITS = {"append": (4, 12, 17), "commit": (5, 15, 24, 31), "relay": (2, 6), "relayed": (2, 6)}


def live(folder: Path, crash: str = "") -> tuple[int, str]:
    """Return how one life ended, and what it said."""
    environment = {**os.environ, "ALLOTROPE_CRASH": crash}
    command = [sys.executable, "-m", "tests.faults.ward", str(folder)]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode, ended.stdout


def crashed(folder: Path, crash: str) -> int:
    """Kill one life, let another one finish and look; return 1 when the point was reached."""
    ended, _ = live(folder, crash)
    _, told = live(folder)
    wanted = [*range(NUMBERS), NUMBERS + 1]
    found = json.loads(told)
    assert found == {
        "seen": dict.fromkeys(NAMES, wanted),
        "follows": dict.fromkeys(NAMES, wanted),
        "letters": 0,
    }, crash
    return ended == -signal.SIGKILL


def test_kill_around_park_and_redrive(tmp_path: Path, note: Callable[[str], None]) -> None:
    plan = [f"{point}:{nth}" for point in POINTS for nth in VISITS[point.partition(".")[0]]]
    with ThreadPoolExecutor(2) as pool:
        hit = list(pool.map(lambda at: crashed(tmp_path / at, at), plan))
    assert sum(hit) == len(plan)
    note(
        f"kill -9 around park, redrive, discard: {sum(hit)} kills at {len(POINTS)} points; 0 lost, doubled, reordered"
    )


async def test_units_are_killed_while_keys_are_parked_and_brought_back(tmp_path: Path) -> None:
    host = build(app, "microservices", tmp_path, Options(ticks=False))
    await host.start()
    assert host.site.engine is not None
    strikes = 0
    for number in range(20):
        for name in NAMES:
            await host.publish(Job(name, number, int(number >= 2)))
        strikes += host.site.engine.strike(number) if number % 5 == 0 else 0
    for name in NAMES:
        await host.tell("Works.fix", (name, 1))
    strikes += host.site.engine.strike(0)
    await host.settled()
    for number in range(2):
        strikes += host.site.engine.strike(number)
        await Desk(host).redrive(Wish(Search(key=NAMES[number])))
    assert strikes >= 5
    assert (await host.site.letters(Search())).count == 0
    for name in NAMES:
        assert await host.of(Works).numbers(name) == tuple(range(20))
        assert await host.of(Follows).numbers(name) == tuple(range(20))
    await host.close()
