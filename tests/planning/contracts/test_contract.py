"""A contract says all that others rely on, the same each time, and nothing when it was tampered with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from allotrope import App, Message, Refused, Table, component, query
from allotrope.planning.contracts.changes import compared
from allotrope.planning.contracts.contract import contract_of, read_contract, row_hash
from tests.planning.contracts.library import Slip, app

GOLDEN = Path(__file__).with_name("library.contract.json")


def test_the_contract_of_the_library_is_the_one_that_is_kept() -> None:
    """On every Python and every machine: who changes this text changes what contracts mean."""
    assert contract_of(app).text() == GOLDEN.read_text("utf-8")
    assert read_contract(GOLDEN.read_bytes(), GOLDEN.name) == contract_of(app)


def test_a_contract_of_format_1_is_read_and_fits() -> None:
    path = GOLDEN.with_name("library.contract.1.json")
    assert compared(read_contract(path.read_bytes(), path.name), contract_of(app)) == ()


def test_it_does_not_depend_on_hashes_of_strings() -> None:
    program = (
        "from allotrope.planning.contracts.contract import contract_of\n"
        "from tests.planning.contracts.library import app\nprint(contract_of(app).hash)"
    )
    root = Path(__file__).resolve().parents[3]
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": f"{root}:{root / 'src'}"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == contract_of(app).hash


def test_a_component_has_the_hash_of_what_it_names_however_deep() -> None:
    def made(kind: object) -> App:
        class Inner(Message):
            value: kind

        class Outer(Message):
            inner: Inner

        @component
        class One:
            @query
            async def ask(self) -> Outer | None:
                return None

        @component
        class Other:
            @query
            async def ask(self) -> int:
                return 1

        return App("two", One, Other)

    one, other = contract_of(made(int)), contract_of(made(str))
    assert one.hash != other.hash
    assert one.components["One"].hash != other.components["One"].hash
    assert one.components["Other"].hash == other.components["Other"].hash


def test_two_classes_of_one_name_are_told_apart() -> None:
    def slip() -> type[Message]:
        class Point(Message):
            id: str

        return Point

    one, other = slip(), slip()

    @component
    class Till:
        kept: Table[tuple[one, other]]

    found = contract_of(App("shop", Till))
    assert found.components["Till"].tables == {"kept": "tuple[Point, Point2]"}
    assert {*found.types} == {"Point", "Point2"}


def test_equal_rows_have_one_hash() -> None:
    assert row_hash(int | None) == row_hash(None | int) != row_hash(int)
    assert row_hash(Slip) != row_hash(Slip | None)


@pytest.mark.parametrize(
    ("edit", "because"),
    [
        (lambda whole: whole["components"]["Models"]["tables"].update(kept="int"), "was edited"),
        (lambda whole: whole["components"]["Models"].update(hash="0" * 32), "was edited"),
        (lambda whole: whole.update(allotrope=9), "contract format 9, not 2"),
        (lambda whole: whole.pop("app"), "is no contract: Object missing required field `app`"),
        (
            lambda whole: whole["components"]["Models"]["operations"]["ask"].update(kind="x"),
            "Invalid enum value",
        ),
    ],
)
def test_a_file_that_is_no_contract_is_refused(edit: object, because: str) -> None:
    whole = json.loads(GOLDEN.read_text("utf-8"))
    edit(whole)
    with pytest.raises(Refused, match=because) as caught:
        read_contract(json.dumps(whole), "some.json")
    assert "some.json" in str(caught.value)
