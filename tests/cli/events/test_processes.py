"""`allotrope events processes`: declarations, and how their instances stand."""

from pathlib import Path

from tests.cli.conftest import Allotrope, environment

APP = "examples.orders"
LINES = """\
{"event": "Placed", "data": {"order": "good", "item": "cup", "count": 2, "cents": 1200}}
{"event": "Placed", "data": {"order": "waits", "item": "pot", "count": 1, "cents": 90000}}
{"event": "Placed", "data": {"order": "denied", "item": "pot", "count": 1, "cents": 70000}}
{"event": "Answered", "data": {"order": "denied", "answer": "no"}}
"""


def test_what_is_open_and_each_step_of_one(allotrope: Allotrope, tmp_path: Path) -> None:
    folder = ("-d", str(tmp_path / "orders"))
    assert allotrope("run", APP, *folder, "-i", "-", input=LINES).returncode == 0
    listed = allotrope("events", "processes", APP, *folder)
    assert listed.returncode == 0
    lines = listed.stdout.splitlines()
    assert lines[0] == "Order: begins with Placed, by order, turns back after 0:30:00"
    assert "  1 running, 0 compensating, 1 completed, 1 compensated" in lines
    assert lines[-1].split()[:2] == ["waits", "running"]
    assert lines[-1].rstrip().endswith("charge asked")
    one = allotrope("events", "processes", APP, "denied", *folder).stdout.splitlines()
    assert one[0].startswith("Order denied: compensated, begun 20")
    assert [line.split()[:2] for line in one[2:]] == [["charge", "failed"], ["reserve", "undone"]]
    none = allotrope("events", "processes", APP, "nobody", *folder)
    assert none.returncode == 2
    assert "no instance of Order in" in none.stderr


def test_a_declaration_needs_no_folder(allotrope: Allotrope, tmp_path: Path) -> None:
    drawn = allotrope("events", "processes", APP, "-d", str(tmp_path / "none"))
    assert drawn.returncode == 0
    assert "no instance can be read from" in drawn.stdout
    assert allotrope("events", "processes", APP, "--mermaid").stdout.startswith("stateDiagram-v2\n")
    without = allotrope("events", "processes", "examples.fraud")
    assert without.returncode == 2
    assert "has no process" in without.stderr


def test_a_way_back_that_was_parked_ends_once_it_is_redriven(allotrope: Allotrope, tmp_path: Path) -> None:
    app, folder = "tests.modules.processes.jobs", ("-d", str(tmp_path / "jobs"))
    begun = '{"event": "Begun", "data": {"job": "stuck"}}'
    assert "1 parked" in allotrope("run", app, *folder, "-i", "-", input=begun).stderr
    waiting = allotrope("events", "processes", app, *folder).stdout
    assert waiting.splitlines()[-1].rstrip().endswith("take undoing")
    redrive = ("events", "redrive", "--component", "Hands", "--app", app, *folder)
    assert allotrope(*redrive, env=environment() | {"UNLOCKED": "1"}).returncode == 0
    assert allotrope("events", "processes", app, "stuck", *folder).stdout.startswith("Job stuck: compensated")
