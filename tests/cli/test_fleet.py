"""A running app whose units are processes, as an operator meets it: what is shown, and that nothing is left."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import APP, ROOT, Allotrope, environment, order

ALONE_S = 3 if sys.platform == "linux" else 10  # elsewhere a process has to notice it by itself
TOPOLOGY = ("-t", "microservices")


class Running:
    """One `allotrope run`, told what to take by its stdin."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "allotrope", "run", APP, *TOPOLOGY, "-d", str(folder), "-i", "-"]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen([*command, *options], cwd=ROOT, env=environment(), text=True, **pipes)
        self.said = ""

    def line_with(self, words: str) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if words in line:
                return str(line)
        raise AssertionError(f"ended before it said {words!r}: {self.said}")

    def give(self, *lines: str) -> list[dict[str, Any]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()
        return [json.loads(self.process.stdout.readline()) for _ in lines]

    def units(self) -> list[int]:
        """The ids of all processes that were started for this folder, the parent left out."""
        spec = str(self.folder / "run" / "spec")
        return [pid for pid in processes(spec) if pid != self.process.pid]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def processes(word: str) -> list[int]:
    found = []
    if not Path("/proc/self").exists():
        listed = subprocess.run(["ps", "-axo", "pid=,args="], capture_output=True, text=True, check=True)
        rows = [line.split() for line in listed.stdout.splitlines()]
        return [int(pid) for pid, *arguments in rows if word in arguments]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in path.read_bytes().decode("utf-8", "replace").split("\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has ended
    return found


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def begin(*options: str) -> Running:
        running.append(Running(tmp_path / "kept", *options))
        return running[-1]

    yield begin
    for each in running:
        each.end()


def soon(condition: Callable[[], bool], seconds: float) -> float:
    """Return how long it took until a condition held."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds
        time.sleep(0.01)
    return time.monotonic() - start


def test_an_operator_sees_scales_rolls_and_reads(
    started: Callable[..., Running], allotrope: Allotrope
) -> None:
    app = started("--metrics", "0")
    address = app.line_with("metrics").split()[1]
    folder = ("--folder", str(app.folder))
    assert re.search(r"units +3 beside this process: Paid, Rates, Till", app.said)
    assert app.give(order(1, 10), '{"call": "Till.all"}')[1]["answer"] == ["o1"]

    rows = [re.split(r" {2,}", row.strip()) for row in allotrope("ps", *folder).stdout.splitlines()]
    assert [row[:3] for row in rows[1:5]] == [
        ["host", "ready", str(app.process.pid)],
        *([unit, f"{unit}-1.1", "ready"] for unit in ("Paid", "Rates", "Till")),
    ]
    assert rows[4][-1] == "0-15"
    assert allotrope("scale", "Rates", "2", *folder).stdout == "Rates: 2 replicas\n"
    assert "Rates-2.1" in allotrope("top", *folder).stdout
    assert re.fullmatch(r"(\w+: replaced in [\d.]+ s\n){3}", allotrope("roll", *folder).stdout)
    assert "Till-1.2" in allotrope("ps", *folder).stdout
    assert app.give(order(2, 10), '{"call": "Till.all"}')[1]["answer"] == ["o1", "o2"]

    logs = allotrope("logs", "Till", *folder).stdout.splitlines()
    assert re.search(
        r"Till-1.1 info +pricing o1 with \*\*\*  \[Till.price, event 1, trace [0-9a-f]{8}\]$", logs[0]
    )
    assert len(allotrope("logs", *folder, "-n", "1").stdout.splitlines()) == 1

    def counted() -> bool:
        page = urllib.request.urlopen(address).read().decode()
        return (
            'allotrope_calls_total{operation="Till.price",release="2",replica="Till-1.2",unit="Till"} 1.0'
            in page
        )

    soon(counted, 10)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ps",), "no units run in"),
        (("top",), "no units run in"),
        (("roll",), "no units run in"),
        (("scale", "Till", "2"), "no units run in"),
        (("logs",), "has no logs"),
    ],
)
def test_where_nothing_runs_it_says_so(
    allotrope: Allotrope, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    ended = allotrope(*arguments, "--folder", str(tmp_path))
    assert ended.returncode == 2
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


WRITTEN = {
    "Till": (
        '{"time":"2026-01-01T10:00:00.100Z","level":"info","logger":"a","message":"first","trace_id":"ab12"}',
        '{"time":"2026-01-01T10:00:00.300Z","level":"error","logger":"a","message":"third"}',
        "Traceback (most recent call last):",
        "  ValueError: fourth",
    ),
    "Rates": (
        '{"time":"2026-01-01T10:00:00.200Z","level":"debug","logger":"a","message":"second","place":"Rates-2.1"}',
    ),
}


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((), ["first", "second", "third", "Traceback (most recent call last):", "ValueError: fourth"]),
        (("Rates",), ["second"]),
        (
            ("--level", "info"),
            ["first", "third", "Traceback (most recent call last):", "ValueError: fourth"],
        ),
        (("-n", "1"), ["ValueError: fourth"]),
        (("--trace", "ab"), ["first"]),
    ],
)
def test_lines_are_merged_by_time(
    allotrope: Allotrope, tmp_path: Path, arguments: tuple[str, ...], shown: list[str]
) -> None:
    (tmp_path / "logs").mkdir()
    for unit, lines in WRITTEN.items():
        (tmp_path / "logs" / f"{unit}.log").write_text("\n".join([*lines, "half a li"]))
    printed = allotrope("logs", *arguments, "--folder", str(tmp_path)).stdout.splitlines()
    said = [re.sub(r"^10:00:00.\d00 (Till|Rates-2.1) +(info|debug|error|) +", "", line) for line in printed]
    assert [line.partition("  [")[0] for line in said] == shown


def test_lines_are_followed_as_they_come(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "Till.log"
    path.write_text(f"{WRITTEN['Till'][0]}\n")
    command = [sys.executable, "-m", "allotrope", "logs", "-f", "--folder", str(tmp_path)]
    following = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )  # fmt: skip
    try:
        assert following.stdout is not None
        assert "first" in following.stdout.readline()
        with path.open("a") as file:
            file.write(WRITTEN["Till"][1][:40])
            file.flush()
            file.write(f"{WRITTEN['Till'][1][40:]}\n")
        assert "third" in following.stdout.readline()
        (tmp_path / "logs" / "Rates.log").write_text(f"{WRITTEN['Rates'][0]}\n")  # a unit that comes later
        assert "second" in following.stdout.readline()
    finally:
        following.send_signal(signal.SIGINT)
        assert following.wait(20) == 130
        following.communicate()


def test_what_cannot_be_is_refused(started: Callable[..., Running], allotrope: Allotrope) -> None:
    app = started()
    app.line_with("stop it")
    folder = ("--folder", str(app.folder))
    assert "no unit `Tills`. Nearest: `Till`." in allotrope("scale", "Tills", "2", *folder).stderr
    assert "no unit `Tills`. Nearest: `Till`." in allotrope("roll", "Tills", *folder).stderr
    assert "cannot have 0 replicas" in allotrope("scale", "Till", "0", *folder).stderr
    quiet = allotrope("logs", "Paid", *folder)
    assert (quiet.returncode, quiet.stdout, quiet.stderr[:8]) == (0, "", "no lines")
    assert "no log of a unit `Tills`" in allotrope("logs", "Tills", *folder).stderr
    other = allotrope("run", APP, *TOPOLOGY, *folder)
    assert (other.returncode, "in use by process" in other.stderr) == (2, True)


def test_who_keeps_ending_is_seen_waiting(started: Callable[..., Running], allotrope: Allotrope) -> None:
    app = started()
    app.line_with("stop it")
    folder = ("--folder", str(app.folder))

    def waits() -> bool:
        table = allotrope("ps", *folder).stdout
        if found := re.search(r"Rates-1\.\d+ +\w+ +(\d+)", table):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(found[1]), signal.SIGKILL)
        return re.search(r"^Rates +Rates-1 +waits [\d.]+ s", table, re.MULTILINE) is not None

    soon(waits, 40)
    layout = allotrope("plan", APP, "-t", "microservices", "--against", str(app.folder))
    assert layout.stdout.endswith(f"against {app.folder}\nno changes\n")


def test_ctrl_c_ends_all_in_order(started: Callable[..., Running]) -> None:
    app = started()
    app.line_with("stop it")
    assert app.give(order(1, 10))[0]["origin"] == 1
    assert len(app.units()) == 4  # and the nursery
    app.process.send_signal(signal.SIGINT)
    app.line_with("all finished")
    assert app.process.wait(20) == 0
    assert app.units() == []
    assert list((app.folder / "run").iterdir()) == []


def test_ctrl_c_while_it_starts_leaves_nothing(started: Callable[..., Running]) -> None:
    app = started()
    soon(lambda: app.units() != [], 20)
    app.process.send_signal(signal.SIGINT)
    assert app.process.wait(20) in (0, 130)
    assert app.units() == []


def test_ctrl_c_twice_ends_at_once(started: Callable[..., Running]) -> None:
    app = started()
    app.line_with("stop it")
    app.give(order(1, 10, customer="never"))  # whose handler has no end
    app.process.send_signal(signal.SIGINT)
    app.line_with("stopping")
    app.process.send_signal(signal.SIGINT)
    assert app.process.wait(20) == 130
    soon(lambda: app.units() == [], ALONE_S)


def test_nothing_outlives_a_parent_that_is_killed(
    started: Callable[..., Running], note: Callable[[str], None], allotrope: Allotrope
) -> None:
    app = started()
    app.line_with("stop it")
    units = app.units()
    assert len(units) == 4
    for pid in units[:2]:
        os.kill(pid, signal.SIGSTOP)
    app.process.kill()
    app.process.wait()
    note(f"after kill -9 of the parent all its processes, two of them stopped, were gone in "
         f"{soon(lambda: app.units() == [], ALONE_S):.2f} s")  # fmt: skip
    assert "what ran there was killed" in allotrope("ps", "--folder", str(app.folder)).stderr
    again = started()
    again.line_with("stop it")
    assert again.give('{"call": "Till.all"}')[0]["answer"] == []


def test_a_plan_that_wants_more_gpus_than_there_are_is_refused(allotrope: Allotrope, tmp_path: Path) -> None:
    path = tmp_path / "gpu.toml"
    path.write_text('base = "microservices"\n[unit.Rates]\ncomponents = ["Rates"]\ngpu = 2.0\n')
    ended = allotrope("plan", APP, "-t", str(path), env={**environment(), "CUDA_VISIBLE_DEVICES": ""})
    assert ended.returncode == 2
    said = " ".join(ended.stderr.split())
    assert "the units want 2 GPUs (`Rates` 1 x 2), but this machine has no GPU to give" in said
