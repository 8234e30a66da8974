"""The command line as a person uses it: another process, its output, its exit code."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.cli.shop"
Allotrope = Callable[..., subprocess.CompletedProcess[str]]


def environment() -> dict[str, str]:
    """This process's, with the package and the tests to be found, and a terminal of 100 columns."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "100", "PYTHONUNBUFFERED": "1"}


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "allotrope", *arguments]
    options = {
        "cwd": ROOT,
        "env": environment(),
        "capture_output": True,
        "text": True,
        "timeout": 60,
        **options,
    }
    return subprocess.run(command, check=False, **options)


@pytest.fixture(scope="session")
def allotrope() -> Allotrope:
    return run


def order(number: int, amount: object, customer: str = "ann", **beside: object) -> str:
    data = {
        "id": f"o{number}",
        "customer": customer,
        "amount": str(amount),
        "at": f"2026-01-01T10:00:0{number}Z",
    }
    return json.dumps({"event": "Ordered", "data": data, **beside})


LINES = [
    order(1, 10, request="first"),
    order(2, "2.50"),
    order(3, 13),
    order(4, 7, "new"),
    '{"call": "Till.refund", "data": {"id": "o1"}, "request": "refund-1"}',
    '{"call": "Till.refund", "data": ["o9"], "request": "refund-9"}',
    '{"call": "Till.all"}',
    '{"call": "Till.receipt", "data": ["o2"]}',
    '{"evnt": "Ordered"}',
    "",
    '{"event": "Orderd", "data": {}}',
    '{"event": "Ordered", "data": {"id": 5}}',
    '{"event": "Ordered", "data": {"idd": 5}}',
    '{"call": "Till.price", "data": {}}',
    '{"call": "Till.refund", "data": {"order": "o1"}}',
    '{"call": "Till.refund", "data": ["a", "b"]}',
    '{"event": "Ordered", "call": "Till.all"}',
    "{",
    '{"call": "Till.all"}',
]


class Ran:
    """One run of the shop over LINES, and the folder it has left."""

    def __init__(self, folder: Path, ended: subprocess.CompletedProcess[str]) -> None:
        self.folder, self.ended = folder, ended
        self.answers = {answer["line"]: answer for answer in map(json.loads, ended.stdout.splitlines())}


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("shop") / "kept"
    ended = run("run", APP, "--folder", str(folder), "--input", "-", "--log", "json", input="\n".join(LINES))
    return Ran(folder, ended)
