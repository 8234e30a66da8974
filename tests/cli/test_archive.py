"""`trace`, `replay` and `impact`: three looks at what a run has left."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import APP, LINES, ROOT, Allotrope, Ran, environment, order


def test_a_trace_is_a_tree_with_times(allotrope: Allotrope, shop: Ran) -> None:
    ended = allotrope("trace", "first", "-d", str(shop.folder))
    assert ended.returncode == 0
    head, facts, _, titles, root, price, rate, mood, printed, *_ = ended.stdout.splitlines()
    assert "origin 1  request first  trace " in head
    assert "5 spans, all ok" in facts
    assert titles.split() == ["after", "took"]
    assert root.startswith("Ordered ")
    assert price.startswith("└─ Till.price ")
    assert rate.startswith("   ├─ Rates.rate ")
    assert mood.startswith("   ├─ Rates.mood ")
    assert printed.startswith("   └─ Till.print ")
    assert all("━" in line for line in (root, price, rate, printed))


def test_each_kind_of_id_leads_to_the_trace(allotrope: Allotrope, shop: Ran) -> None:
    folder = str(shop.folder)
    first = allotrope("trace", "1", "-d", folder).stdout
    trace = first.split("trace ")[1].split()[0]
    for name in ("first", trace, trace[:8], trace[:8].upper()):
        assert allotrope("trace", name, "-d", folder).stdout == first
    marked = allotrope("trace", "1/Till.price#000", "-d", folder).stdout.splitlines()
    assert [line for line in marked if line.rstrip().endswith("<")] == [marked[8]]
    assert "Till.print" in marked[8]


def test_without_an_id_the_newest_are_listed(allotrope: Allotrope, shop: Ran) -> None:
    listed = allotrope("trace", "-d", str(shop.folder)).stdout
    assert "refund-9" in listed
    assert "NoReceipt" in listed
    assert re.search(
        r"kept in .*: \d+ spans of 9 traces, 9 events, 9 decision records, of origins 1 to 6", listed
    )


def test_a_trace_that_was_not_sampled_falls_back_to_its_decisions(
    allotrope: Allotrope, tmp_path: Path
) -> None:
    lines = "\n".join(order(1, number) for number in range(60))  # a host samples 20 a second
    assert allotrope("run", APP, "-d", str(tmp_path), "-i", "-", input=lines).returncode == 0
    ended = allotrope("trace", "60", "-d", str(tmp_path))
    assert "not sampled; from the decision records, without times" in ended.stdout
    assert "Till.price" in ended.stdout


def test_impact_counts_what_came_of_an_input(allotrope: Allotrope, shop: Ran) -> None:
    ended = allotrope("impact", "first", "-d", str(shop.folder))
    for words in ("Ordered ann", "Till.price", "Priced ann", "Till.print", "wrote Till.receipts['o1']"):
        assert words in ended.stdout
    assert "in all: 1 event, 2 decisions, 1 row" in ended.stdout
    narrow = allotrope("impact", "1/Till.price#000", "-d", str(shop.folder)).stdout
    assert "in all: 0 events, 1 decision, 1 row" in narrow


def test_impact_names_what_was_parked_and_deleted(allotrope: Allotrope, shop: Ran) -> None:
    parked = " ".join(allotrope("impact", "3", "-d", str(shop.folder)).stdout.split())
    assert "parked: Failed: Till.price failed: ValueError: thirteen, says ***" in parked
    assert "in all: 0 events, 1 decision, 1 parked" in parked
    assert "'o1' deleted" in allotrope("impact", "refund-1", "-d", str(shop.folder)).stdout


def test_every_recorded_decision_is_replayed(allotrope: Allotrope, shop: Ran) -> None:
    for name in ("1", "2", "3", "4", "refund-1", "refund-9"):
        ended = allotrope("replay", name, APP, "-d", str(shop.folder))
        assert ended.returncode == 0, ended.stdout
        assert "equal" in ended.stdout


def test_a_difference_is_shown_and_is_the_exit_code(allotrope: Allotrope, shop: Ran, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('base = "modular-monolith"\n[setting]\n"Till.discount" = 4\n')
    ended = allotrope("replay", "1/Till.price", APP, "-d", str(shop.folder), "-t", str(own))
    assert ended.returncode == 1
    assert "different" in ended.stdout
    (line,) = [line for line in ended.stdout.splitlines() if "event #000" in line]
    assert line.split() == ["event", "#000", "Priced.amount", "Decimal('10')", "Decimal('6')"]


def test_debug_stops_at_the_first_line_of_the_operation(shop: Ran) -> None:
    arguments = ["replay", "1/Till.price", APP, "-d", str(shop.folder), "--debug"]
    ended = subprocess.run(
        [sys.executable, "-m", "allotrope", *arguments], cwd=ROOT, env=environment(), text=True,
        input="p ordered.id\nn\np self.discount\nc\n", capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert "shop.py" in ended.stdout
    assert "->" in ended.stdout
    assert "log.info(" in ended.stdout.split("(Pdb)")[0]
    assert "'o1'" in ended.stdout
    assert "equal      1/Till.price" in ended.stdout
    assert ended.returncode == 0, ended.stderr


def test_leaving_the_debugger_is_no_crash(shop: Ran) -> None:
    arguments = ["replay", "1/Till.price", APP, "-d", str(shop.folder), "--debug"]
    ended = subprocess.run(
        [sys.executable, "-m", "allotrope", *arguments], cwd=ROOT, env=environment(), text=True,
        input="q\n", capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert "left the debugger" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 2


def test_debug_takes_one_decision(allotrope: Allotrope, shop: Ran) -> None:
    ended = allotrope("replay", "1", APP, "-d", str(shop.folder), "--debug")
    assert "`1` is 2 decisions; --debug takes one:" in ended.stderr
    assert "1/Till.price#000/Till.print" in ended.stderr
    assert ended.returncode == 2


@pytest.mark.parametrize("verb", ["trace", "impact", "replay"])
def test_an_unknown_id_says_what_there_is(allotrope: Allotrope, shop: Ran, verb: str) -> None:
    app = [APP] if verb == "replay" else []
    ended = allotrope(verb, "no-such", *app, "-d", str(shop.folder))
    assert "nothing here is called `no-such`" in ended.stderr
    for kind in (
        "a trace id",
        "an origin",
        "an event",
        "a request id",
        "spans of",
        "a key",
        "decision records, of origins 1 to 6",
    ):
        assert kind in ended.stderr
    assert (ended.stdout, ended.returncode) == ("", 2)


@pytest.mark.parametrize("preset", ["monolith", "loopback"])
def test_every_preset_is_replayed(allotrope: Allotrope, tmp_path: Path, preset: str) -> None:
    folder = str(tmp_path)
    allotrope("run", APP, "-t", preset, "-d", folder, "-i", "-", input="\n".join(LINES))
    for name in ("1", "2", "3", "4", "refund-1", "refund-9"):
        ended = allotrope("replay", name, APP, "-d", folder)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "equal" in ended.stdout
    told = allotrope("impact", "first", "-d", folder).stdout
    for words in ("Ordered ann", "Till.price", "Priced ann", "wrote Till.receipts['o1']"):
        assert words in told
    assert "not in the log yet" not in told
    assert "in all: 1 event, 2 decisions, 1 row" in told
    assert (
        f"9 decision records of 9 under {preset}, of origins 1 to 6"
        in allotrope("trace", "-d", folder).stdout
    )


@pytest.fixture(scope="module")
def units(allotrope: Allotrope, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves whose components were in units of their own: their ledgers are below the host's."""
    folder = tmp_path_factory.mktemp("units")
    told = ("run", APP, "-d", str(folder), "-i", "-")
    allotrope(*told, "-t", "monolith", input=order(9, 5))  # of which nothing may be shown any more
    allotrope(*told, "-t", "microservices", input="\n".join(LINES))
    return folder


def test_one_tree_goes_through_all_units(allotrope: Allotrope, units: Path) -> None:
    for columns in (80, 120):
        shown = allotrope("trace", "first", "-d", str(units), env={**environment(), "COLUMNS": str(columns)})
        _, facts, _, titles, *lines = shown.stdout.splitlines()
        assert "9 spans, all ok" in facts
        assert titles.split() == ["at", "after", "took"]
        steps = (line.split(" host ")[0].split("-1.1 ")[0].split() for line in lines)
        assert [" ".join(step[:-1] if len(step) > 1 else step) for step in steps] == [
            "Ordered",
            "└─ Till.price",
            *("├─ Paid.of", "│ └─ Paid.of"),
            *("├─ Rates.rate", "│ └─ Rates.rate"),
            *("├─ Rates.mood", "│ └─ Rates.mood"),
            "└─ Till.print",
        ]
        places = [re.findall(r" (host|\w+-1\.1) ", line) for line in lines]
        assert places[:4] == [["host"], ["Till-1.1"], ["Till-1.1"], ["Paid-1.1"]]
        assert max(map(len, lines)) <= columns
        assert "━" in lines[1]


def test_decisions_of_all_units_are_found(allotrope: Allotrope, units: Path) -> None:
    listed = allotrope("trace", "-d", str(units)).stdout
    assert "9 events, 9 decision records, of origins 1 to 6" in listed
    told = allotrope("impact", "first", "-d", str(units)).stdout
    for words in ("Ordered ann", "Till.price", "Priced ann", "Till.print", "wrote Till.receipts['o1']"):
        assert words in told
    assert "in all: 1 event, 2 decisions, 1 row" in told
    for name in ("1", "2", "3", "4", "refund-1", "refund-9"):
        ended = allotrope("replay", name, APP, "-d", str(units))
        assert (ended.returncode, "equal" in ended.stdout) == (0, True), ended.stdout + ended.stderr


def test_a_decision_that_was_passed_over_says_why(allotrope: Allotrope, tmp_path: Path) -> None:
    lines = "\n".join(order(1, number % 9, request=f"r{number}") for number in range(6_000))
    allotrope("run", APP, "-t", "monolith", "-d", str(tmp_path), "-i", "-", input=lines)
    folder = ("-d", str(tmp_path))
    assert allotrope("replay", "r0", APP, *folder).returncode == 0  # it was traced, so it was not passed over
    assert allotrope("replay", "r5999", APP, *folder).returncode == 0
    passed = next(
        ended
        for number in range(1_000, 6_000, 500)
        if (ended := allotrope("replay", str(number), APP, *folder)).returncode
    )
    assert passed.returncode == 2
    assert "of 12,000 decisions were passed over: monolith keeps nothing durable" in passed.stderr
    assert "modular-monolith keeps them all" in passed.stderr


def test_a_durable_run_is_not_mixed_with_one_that_was_not(allotrope: Allotrope, tmp_path: Path) -> None:
    folder = ("-d", str(tmp_path))
    for preset, amount in (("modular-monolith", 4), ("monolith", 5), ("modular-monolith", 6)):
        allotrope("run", APP, "-t", preset, *folder, "-i", "-", input=order(amount, amount))
        newest = "2" if amount == 6 else "1"
        assert f"Till.receipts['o{amount}']" in allotrope("impact", newest, *folder).stdout
        assert "5 spans, all ok" in allotrope("trace", newest, *folder).stdout
    assert "Till.receipts['o4']" in allotrope("impact", "1", *folder).stdout
    assert (
        "older" not in allotrope("trace", "1", *folder).stdout
    )  # the trace of the other first input is not of this one


@pytest.mark.parametrize("preset", ["modular-monolith", "monolith"])
def test_a_key_leads_to_the_newest_input_and_names_the_others(
    allotrope: Allotrope, tmp_path: Path, preset: str
) -> None:
    lines = [order(number, 1, "bob" if number % 2 else "eve") for number in range(1, 9)]
    allotrope("run", APP, "-t", preset, "-d", str(tmp_path), "-i", "-", input="\n".join(lines))
    ended = allotrope("trace", "bob", "-d", str(tmp_path))
    assert "origin 7" in ended.stdout
    others = "the newest input with this key, 7; older are 5 Ordered, 3 Ordered, 1 Ordered"
    assert others in ended.stdout
    assert others in allotrope("replay", "bob", APP, "-d", str(tmp_path)).stdout
    assert "Ordered bob" in allotrope("impact", "bob", "-d", str(tmp_path)).stdout


def test_a_missing_folder_is_refused(allotrope: Allotrope, tmp_path: Path) -> None:
    ended = allotrope("trace", "1", "-d", str(tmp_path / "none"))
    assert "no such folder" in ended.stderr
    assert ended.returncode == 2
