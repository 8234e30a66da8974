"""Kill -9 at every crash point of log and ledger: nothing lost, nothing doubled, each key in order."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from allotrope.logs.sqlite import SqliteLog
from allotrope.stores.sqlite import SqliteLedger
from tests.faults.driver import CLIENTS, FILLER, NUMBERS

POINTS = [
    f"{step}.{side}"
    for step in ("append", "commit", "relay", "relayed", "acknowledge", "checkpoint")
    for side in ("before", "after")
]
HITS = {"checkpoint": (1, 2, 3, 4, 5)}  # there are fewer of them
WORDS = ("append", "commit", "relay")
ROOT = Path(__file__).resolve().parents[2]


def live(folder: Path, level: str, lossy: str = "", crash: str = "") -> tuple[int, set[tuple[str, ...]]]:
    """Return how one life ended, and what it acknowledged."""
    environment = {**os.environ, "ALLOTROPE_LOSSY": lossy, "ALLOTROPE_CRASH": crash}
    command = [sys.executable, "-m", "tests.faults.driver", str(folder), level]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode, {tuple(line.split()) for line in ended.stdout.splitlines()}


def kept(folder: Path) -> set[tuple[str, ...]]:
    """Return what a log and a ledger hold, as it was acknowledged."""
    log, ledger = SqliteLog(folder), SqliteLedger(folder)
    found = set()
    for each in asyncio.run(log.read(0, 10**6)):
        what = "relay" if each.envelope.path else "append"
        found.add((what, each.envelope.key[1:], each.envelope.body[: -len(FILLER)].decode()))
    for key, row in ledger.scan("numbers"):
        found |= {("commit", key[1:], number.decode()) for number in row.split()}
    log.release()
    ledger.close()
    return found


def missing(folder: Path, told: set[tuple[str, ...]], level: str) -> list[str]:
    """Return what was acknowledged and is not there; fail when something is there twice or out of order."""
    log, ledger = SqliteLog(folder, level), SqliteLedger(folder, level)  # type: ignore[arg-type]  # a test's level
    entries = [entry.envelope for entry in asyncio.run(log.read(0, 10**6))]
    outbox = [event for _, event in ledger.outbox(10**6)]
    rows = dict(ledger.scan("numbers"))
    log.release()
    ledger.close()
    lost = []
    for name in range(CLIENTS):
        own = [entry for entry in entries if entry.key == f"k{name}"]
        inputs = [int(entry.body[: -len(FILLER)]) for entry in own if not entry.path]
        counted = [int(number) for number in rows.get(f"k{name}", b"").split()]
        relayed = [int(entry.body[: -len(FILLER)]) for entry in own if entry.path]
        waiting = [int(event.body[: -len(FILLER)]) for event in outbox if event.key == f"k{name}"]
        both = relayed + [number for number in waiting if number not in relayed]
        for kind, found in (("append", inputs), ("commit", counted), ("relay", relayed), ("event", both)):
            assert found == list(range(len(found))), (
                f"{kind} of key k{name}: doubled or out of order: {found}"
            )
            said = [int(number) for what, who, number in told if what == kind and int(who) == name]
            lost += [f"{kind} {name} {number}" for number in said if number not in found]
        assert both == counted, f"the events of key k{name} are not its effects"
    origins = [entry.origin for entry in entries if not entry.path]
    assert origins == list(range(1, len(origins) + 1))
    return lost


def crash(folder: Path, level: str, lossy: str, crash: str) -> str:
    """Kill one life, look, let another one finish, look again; return the point."""
    ended, told = live(folder, level, lossy, crash)
    assert ended == -signal.SIGKILL, f"{crash} was not reached"
    assert missing(folder, told, level) == []
    ended, more = live(folder, level, lossy)
    assert ended == 0
    assert missing(folder, told | more, level) == []
    assert len(more) == len(WORDS) * CLIENTS * NUMBERS
    return crash.partition(":")[0]


def crashes(tmp_path: Path, level: str, lossy: str, hits: tuple[int, ...]) -> Counter[str]:
    """Return how often each point was hit."""
    plan = [
        f"{point}:{nth}" for point in POINTS for nth in HITS.get(point.partition(".")[0], hits)[: len(hits)]
    ]
    with ThreadPoolExecutor(2) as pool:
        return Counter(pool.map(lambda at: crash(tmp_path / at, level, lossy, at), plan))


def told(hit: Counter[str]) -> str:
    counts = ", ".join(f"{point} {count}" for point, count in sorted(hit.items()))
    found = "0 lost, 0 doubled, 0 reordered within a key"
    return f"{hit.total()} kills at {len(hit)} points; {found}; {counts}"


def test_kill_at_every_point(tmp_path: Path, note: Callable[[str], None]) -> None:
    hit = crashes(tmp_path, "process", "", (23,))
    assert set(hit) == set(POINTS)
    note(f"log and ledger, durability process: {told(hit)}")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("level", "lossy"), [("process", ""), ("power", ""), ("power", "1"), ("power", "torn")]
)
def test_kill_at_every_point_often(
    tmp_path: Path, level: str, lossy: str, note: Callable[[str], None]
) -> None:
    hit = crashes(tmp_path, level, lossy, (1, 2, 19, 47, 80))
    assert set(hit) == set(POINTS)
    assert min(hit.values()) >= 5
    what = {"": "", "1": ", unsynced writes dropped", "torn": ", unsynced writes torn"}
    note(f"log and ledger, durability {level}{what[lossy]}: {told(hit)}")


def test_power_cut_at_durability_power(tmp_path: Path) -> None:
    for at in ("append.after:30", "commit.after:30"):
        crash(tmp_path / at, "power", "1", at)


def test_the_lossy_disk_does_lose(tmp_path: Path, note: Callable[[str], None]) -> None:
    """Else the tests above would show nothing: at durability process a power cut takes the last commits."""
    ended, told = live(tmp_path, "process", "1", "commit.after:5")  # before the first checkpoint
    assert ended == -signal.SIGKILL
    before = kept(tmp_path)
    lost = {promise for promise in told if promise not in before}
    note(f"control: of {len(told)} promises at durability process a power cut broke {len(lost)}")
    assert lost


@pytest.mark.parametrize("at", ["append.after:9", "commit.after:12", "relay.after:14", "checkpoint.after:1"])
def test_after_a_power_cut_nothing_new_is_taken_for_old(tmp_path: Path, at: str) -> None:
    """One file may have kept what the other has lost: then neither may give its names again.

    Of what was under way at the cut the last commits may be gone: that is what durability process says.
    """
    ended, before = live(tmp_path, "process", "1", at)
    assert ended == -signal.SIGKILL
    ended, told = live(tmp_path, "process", "1")
    assert ended == 0
    assert len(told) == len(WORDS) * CLIENTS * NUMBERS
    reached = {who: 1 + max(int(n) for _, w, n in before if w == who) for _, who, _ in before}
    fresh = {(what, who, n) for what, who, n in told if int(n) > reached.get(who, 0)}
    assert len(fresh) > len(told) / 2
    assert fresh <= kept(tmp_path)
