"""`allotrope run`: inputs as lines, answers as lines, and a good end whatever ends it."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import APP, LINES, ROOT, Allotrope, Ran, environment, order

Started = Callable[..., subprocess.Popen[str]]


def test_each_line_is_answered_in_order(shop: Ran) -> None:
    wanted = [number for number, line in enumerate(LINES, 1) if line]
    assert [json.loads(line)["line"] for line in shop.ended.stdout.splitlines()] == wanted


def test_events_get_origins_and_calls_get_answers(shop: Ran) -> None:
    answers = shop.answers
    assert [answers[number]["origin"] for number in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert answers[5]["answer"] == "10"
    assert answers[6] == {"line": 6, "fault": "NoReceipt", "fields": {"id": "o9"}}
    assert answers[8]["answer"]["amount"] == "2.50"


def test_a_query_sees_all_that_stands_before_it(shop: Ran) -> None:
    assert shop.answers[7]["answer"] == ["o2", "o4"]


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (9, "unknown field `evnt`"),
        (11, "no event Orderd. Nearest: `Ordered`."),
        (12, "Ordered: Expected `str`, got `int` - at `$.id`"),
        (13, "Ordered has no field `idd`. Nearest: `id`."),
        (14, "Till.price is no query and no command"),
        (15, "Till.refund has no parameter `order`. Known: id."),
        (16, "Till.refund takes 1 arguments, got 2"),
        (17, 'a line names an "event" or a "call"'),
        (18, "this is no input"),
    ],
)
def test_a_bad_line_says_why_and_stops_nothing(shop: Ran, number: int, says: str) -> None:
    assert shop.answers[number]["error"] == "Refused"
    assert says in shop.answers[number]["message"]
    assert shop.answers[19]["answer"] == ["o2", "o4"]
    assert shop.ended.returncode == 1


def test_a_person_is_told_what_holds_and_what_was_done(shop: Ran) -> None:
    # It was asked for JSON, so every line is.
    lines = [json.loads(line) for line in shop.ended.stderr.splitlines()]
    told = "\n".join(line["message"] for line in lines)
    assert "shop under modular-monolith; durability process: what is answered survives kill -9" in told
    assert re.search(r"done: 18 lines answered in .* 9 refused, first line 9, 1 parked; all finished", told)


def test_no_secret_reaches_output_or_folder(shop: Ran) -> None:
    kept = b"".join(path.read_bytes() for path in shop.folder.rglob("*") if path.is_file())
    for text in (shop.ended.stdout, shop.ended.stderr, kept.decode("latin1")):
        assert "hush-hush" not in text
    assert "pricing o1 with ***" in shop.ended.stderr


def test_many_lines_keep_their_order_through_a_small_window(allotrope: Allotrope, tmp_path: Path) -> None:
    """Far more lines than may be in flight: their origins still follow the lines."""
    small = tmp_path / "small.toml"
    small.write_text('base = "modular-monolith"\nwindow = 3\n')
    lines = "\n".join(order(number % 10, number) for number in range(300))
    ended = allotrope("run", APP, "-t", str(small), "-d", str(tmp_path / "kept"), "-i", "-", input=lines)
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(answers) == 300
    assert [answer["origin"] for answer in answers] == [answer["line"] for answer in answers]


def test_the_same_request_is_answered_once(allotrope: Allotrope, tmp_path: Path) -> None:
    lines = [order(1, 10), *['{"call": "Till.refund", "data": ["o1"], "request": "r"}'] * 2]
    for _ in range(2):
        ended = allotrope("run", APP, "-d", str(tmp_path), "-i", "-", input="\n".join(lines))
        answers = [json.loads(line) for line in ended.stdout.splitlines()]
        assert [answer.get("answer") for answer in answers[1:]] == ["10", "10"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "allotrope", "run", APP, "-d", str(tmp_path / "kept"), *arguments]
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        running.append(subprocess.Popen(command, cwd=ROOT, env=environment(), text=True, **pipes))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def line_with(stream: Any, words: str) -> str:
    for line in stream:
        if words in line:
            return str(line)
    raise AssertionError(f"ended before it said {words!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_it_in_good_order(start: Started, number: signal.Signals) -> None:
    process = start("--input", "-")
    line_with(process.stderr, "Ctrl-C")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(order(1, 10) + "\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline()) == {
        "line": 1,
        "origin": 1,
    }  # answered while the input is open
    process.send_signal(number)
    assert "all finished" in line_with(process.stderr, "stopped: 1 lines answered")
    assert process.wait(20) == 0


def test_a_second_signal_stops_at_once(start: Started) -> None:
    process = start("--input", "-")
    line_with(process.stderr, "Ctrl-C")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(order(1, 10, "never") + "\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline()) == {"line": 1, "origin": 1}
    process.send_signal(signal.SIGINT)
    line_with(process.stderr, "Ctrl-C again stops at once")
    process.send_signal(signal.SIGINT)
    line_with(process.stderr, "stopped at once")
    assert process.wait(20) == 130


def test_whoever_has_read_enough_ends_it_without_noise(start: Started, tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n".join(order(number % 10, number) for number in range(20_000)))
    process = start("--input", str(lines))
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 0
    assert "Traceback" not in process.stderr.read()


def test_it_stays_up_without_input_and_serves_metrics(start: Started) -> None:
    process = start("--metrics", "0")
    address = line_with(process.stderr, "metrics").split()[-1]
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert b'allotrope_calls_total{operation="Till.price"} 0.0' in answer.read()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_what_a_kill_leaves_is_read_and_taken_up(
    start: Started, allotrope: Allotrope, tmp_path: Path
) -> None:
    process = start("--input", "-")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(order(1, 10, request="r1") + "\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["origin"] == 1
    kept = str(tmp_path / "kept")
    assert (
        allotrope("impact", "r1", "-d", kept).returncode == 0
    )  # beside the running app, which holds the lock
    process.kill()
    process.wait()
    assert "Ordered ann" in allotrope("impact", "r1", "-d", kept).stdout
    ended = allotrope("run", APP, "-d", kept, "-i", "-", input='{"call": "Till.all"}')
    assert json.loads(ended.stdout)["answer"] == ["o1"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--input", "nowhere.jsonl"), "--input nowhere.jsonl: No such file"),
        (("-t", "monolit"), "no preset or file is called `monolit`. Nearest: `monolith`."),
        (("--log", "yaml"), "yaml"),
        (("--metrics", "many"), "many"),
    ],
)
def test_a_wrong_option_is_one_message(
    allotrope: Allotrope, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    ended = allotrope("run", APP, "-d", str(tmp_path), *arguments)
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 2


def test_a_folder_in_use_is_refused(start: Started, allotrope: Allotrope, tmp_path: Path) -> None:
    line_with(start().stderr, "Ctrl-C")
    ended = allotrope("run", APP, "-d", str(tmp_path / "kept"), "-i", "-", input="")
    assert ended.returncode == 2
    assert "in use by process" in ended.stderr
    assert "Traceback" not in ended.stderr
