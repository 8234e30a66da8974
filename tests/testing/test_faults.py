"""The tools that break things do break them; what a broken disk does to the stores is in `tests/faults`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from allotrope.testing.faults import stop

LIFE = """
import time
from allotrope.testing import faults
from allotrope.storage.points import reach
faults.arm(); faults.arm()
before, whole = time.time(), time.time_ns()
for number in range(4):
    reach("commit.before")
    print(number, round((time.time() - before) / 60), round((time.time_ns() - whole) / 6e10), flush=True)
"""


def life(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIFE]
    given = {**os.environ, **environment}
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=60)


def test_a_kill_at_the_third_visit() -> None:
    ended = life(ALLOTROPE_CRASH="commit.before:3")
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == "0 0 0\n1 0 0\n"


def test_a_clock_that_goes_back_an_hour() -> None:
    ended = life(ALLOTROPE_CLOCK="commit.before:2:-3600")
    assert ended.stdout == "0 0 0\n1 -60 -60\n2 -60 -60\n3 -60 -60\n"


def test_of_all_processes_one_is_killed_once_it_may_be(tmp_path: Path) -> None:
    asked = {"ALLOTROPE_CRASH": "commit.before:2", "ALLOTROPE_FAULTS": str(tmp_path)}
    assert life(**asked).returncode == 0
    (tmp_path / "armed").touch()
    assert life(**asked).stdout == "0 0 0\n"
    assert (tmp_path / "hit").read_text().startswith("commit.before ")
    assert life(**asked).returncode == 0


def test_a_process_that_is_stopped_goes_on() -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    waking = stop(sleeper.pid, 0.2)
    state, until = "", time.monotonic() + 10
    while state != "T" and time.monotonic() < until:
        state = Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()[0]
    assert state == "T"
    waking.join()
    sleeper.communicate(b"\n", timeout=30)
    assert sleeper.returncode == 0


def test_one_that_has_ended_is_left_alone() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stop(ended.pid, 0.0).join()
