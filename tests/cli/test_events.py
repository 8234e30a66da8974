"""`events ls`, `show`, `redrive`, `replay` and `why-waiting`, of an app that runs and of one that does not."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import APP, ROOT, Allotrope, environment, order

LINES = [order(1, 3), order(2, 13, request="unlucky"), order(3, 4), order(4, 5, "bob")]


@pytest.fixture
def folder(allotrope: Allotrope, tmp_path: Path) -> Path:
    assert "2 parked" in allotrope("run", APP, "-d", str(tmp_path), "-i", "-", input="\n".join(LINES)).stderr
    return tmp_path


@pytest.fixture
def serving(folder: Path) -> Iterator[Path]:
    command = [sys.executable, "-m", "allotrope", "serve", APP, "-d", str(folder), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "stop it with" in line:
                break
        yield folder
        process.terminate()
        process.communicate(timeout=30)


def test_dead_letters_are_listed_and_shown(allotrope: Allotrope, folder: Path) -> None:
    listed = allotrope("events", "ls", "-d", str(folder)).stdout
    assert "ValueError: thirteen, says ***" in listed
    assert "waits behind" in listed
    assert "2 dead letters of 1 parked key" in listed
    narrow = allotrope("events", "ls", "-d", str(folder), "--reason", "thirteen", "--since", "5m").stdout
    assert "1 dead letter of 1 parked key" in narrow
    assert allotrope("events", "ls", "-d", str(folder), "--key", "bob").stdout == "no dead letters\n"
    shown = allotrope("events", "show", "unlucky", "-d", str(folder)).stdout
    for words in ("2/Till.price", '"customer":"ann"', "3 times", "behind it 1 event", "request   unlucky"):
        assert words in shown
    wrong = allotrope("events", "ls", "-d", str(folder), "--since", "noon")
    assert (wrong.returncode, "`noon` is no time" in wrong.stderr) == (2, True)


def test_what_does_not_run_is_started_for_a_redrive(allotrope: Allotrope, folder: Path) -> None:
    refused = allotrope("events", "redrive", "2", "-d", str(folder))
    assert refused.returncode == 2
    assert "or name the app with --app" in refused.stderr
    again = allotrope("events", "redrive", "2", "-d", str(folder), "--app", APP)
    assert (again.returncode, again.stdout) == (
        1,
        "Till ann: 0 delivered, 2 left: ValueError: thirteen, says ***\n",
    )
    assert "6 times" in allotrope("events", "show", "2", "-d", str(folder)).stdout
    asks = allotrope("events", "redrive", "2/Till.price", "--discard", "-d", str(folder), "--app", APP)
    assert (asks.returncode, "Say so with --yes" in asks.stderr) == (2, True)
    gone = allotrope("events", "redrive", "unlucky", "--discard", "-y", "-d", str(folder), "--app", APP)
    assert gone.stdout == "Till ann: 1 discarded, 1 left\n"
    assert allotrope("events", "redrive", "--all", "-y", "-d", str(folder), "--app", APP).stdout == (
        "Till ann: 1 delivered\n"
    )
    assert allotrope("events", "ls", "-d", str(folder)).stdout == "no dead letters\n"
    assert "equal" in allotrope("replay", "3", APP, "-d", str(folder)).stdout


def test_what_runs_is_asked_at_its_door(allotrope: Allotrope, serving: Path) -> None:
    place = ("-d", str(serving))
    assert "2 dead letters" in allotrope("events", "ls", *place).stdout
    chain = allotrope("why-waiting", "3", *place).stdout.splitlines()
    assert "key 'ann' is parked at Till, 1 before it" in chain[0]
    assert "ValueError: thirteen, says ***" in chain[1]
    assert allotrope("why-waiting", "unlucky", *place).stdout.startswith(
        "2 at Till.price: it is a dead letter"
    )
    assert allotrope("events", "redrive", "--component", "Till", *place).returncode == 1
    counted = allotrope("events", "replay", "--from", "1", "--component", "Till", *place).stdout
    assert "6 events would be delivered again: Till.price 4, Till.print 2" in counted
    done = allotrope("events", "replay", "--from", "1", "--component", "Till", "--key", "bob", "-y", *place)
    assert "2 events delivered again" in done.stdout
    both = allotrope("events", "redrive", "--all", "--component", "Till", *place)
    assert (both.returncode, "say which" in both.stderr) == (2, True)
