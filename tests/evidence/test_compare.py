from typing import Any

import msgspec
import pytest

from allotrope.evidence.compare import compared
from allotrope.evidence.contrast import contrast
from allotrope.evidence.runs import Run, Step
from allotrope.kernel import codec

ORDERED = codec.encode({"id": "o1"})


def step(title: str = "Clerk.note", rank: int = 1, **parts: Any) -> Step:
    facts: dict[str, Any] = {
        "path": "", "kind": "Ordered", "body": ORDERED, "tape": (),
        "events": (), "writes": (), "answer": b"", "error": "",
    }  # fmt: skip
    return Step(rank=rank, title=title, **{**facts, **parts})


def run(*steps: Step, **parts: Any) -> Run:
    facts: dict[str, Any] = {
        "outcomes": (), "tables": {"Clerk.rows": {}}, "views": {"Sales": {}}, "flaws": (), "recalled": {},
    }  # fmt: skip
    return Run(steps=steps, **{**facts, **parts})


def told(
    one: Run, other: Run, loose: frozenset[tuple[str, str]] = frozenset()
) -> list[tuple[str, str, bool]]:
    return [(found.where, found.what, found.follows) for found in compared(one, other, loose)[1]]


def asked(what: str, argument: Any, answer: Any) -> tuple[tuple[str, bytes, bytes], ...]:
    return ((what, codec.encode((argument,)), codec.encode(answer)),)


def noted(text: str) -> tuple[tuple[str, bytes], ...]:
    return (("Noted", codec.encode({"id": "o1", "text": text})),)


def test_equal_runs_are_counted_and_differ_nowhere() -> None:
    same = run(
        step(events=noted("x")),
        outcomes=(("Ordered", "accepted"), ("", "")),
        tables={"Clerk.rows": {"a": b"1", "b": b"2"}},
        views={"Sales": {"a": b"1"}},
    )
    counts, differences = compared(same, same)
    assert differences == []
    assert (counts.inputs, counts.deliveries, counts.events, counts.rows, counts.figures) == (1, 1, 1, 2, 1)
    assert counts.compared == 6


def test_who_did_something_else_with_the_same_is_named() -> None:
    one, other = run(step(events=noted("x"))), run(step(events=noted("y")))
    assert told(one, other) == [
        ("Clerk.note", "on Ordered 'o1': it published Noted with text 'y', not 'x'", False)
    ]


def test_who_was_given_something_else_only_follows() -> None:
    reader = {"rank": 1, "path": "/Clerk.note#000", "kind": "Noted"}
    one = run(step(events=noted("x")), step("Reader.read", body=b"\xa1x", answer=b"\xa1x", **reader))
    other = run(step(events=noted("y")), step("Reader.read", body=b"\xa1y", answer=b"\xa1y", **reader))
    assert [(where, follows) for where, _, follows in told(one, other)] == [
        ("Clerk.note", False),
        ("Reader.read", True),
    ]


def test_a_row_of_another_key_is_a_race_unless_it_was_spoiled_before() -> None:
    one = run(step(tape=asked("Clerk.rows.get", "bread", "ann"), answer=b"\xa1x"))
    other = run(step(tape=asked("Clerk.rows.get", "bread", "bob"), answer=b"\xa1y"))
    assert told(one, other) == [
        ("Clerk.note", "on Ordered 'o1': it read Clerk.rows['bread'] as 'bob', not 'ann'", False)
    ]
    spoilt = [step("Clerk.put", 0, writes=(("Clerk.rows", "bread", row),)) for row in (b"\xa1x", b"\xa1y")]
    first, second = (run(spoilt[n], *whole.steps) for n, whole in enumerate((one, other)))
    assert [(where, follows) for where, _, follows in told(first, second)] == [
        ("Clerk.put", False),
        ("Clerk.note", True),
    ]


def test_a_query_that_answered_otherwise_is_named_instead_of_who_asked() -> None:
    one = run(step(tape=asked("Prices.of", "bread", 3), answer=b"\x03"))
    other = run(step(tape=asked("Prices.of", "bread", 4), answer=b"\x04"))
    assert told(one, other) == [
        ("Prices.of", "asked by Clerk.note for ('bread'): it answered 4, not 3", False)
    ]


def test_a_view_is_named_with_its_figure() -> None:
    one = run(step(tape=asked("Sales.of", "bread", {"count": 3, "mean": 1.5}), answer=b"\x03"))
    other = run(step(tape=asked("Sales.of", "bread", {"count": 3, "mean": 2.5}), answer=b"\x04"))
    assert [where for where, _, _ in told(one, other)] == ["Sales.mean"]
    assert told(one, other, frozenset({("Clerk", "Sales")})) == []
    assert compared(one, other, frozenset({("Clerk", "Sales")}))[0].excused == 1


def test_an_event_that_the_runtime_lost_or_invented_is_a_difference() -> None:
    publisher = step(events=noted("x"))
    reader = step("Reader.read", path="/Clerk.note#000", kind="Noted", body=b"\xa1x")
    assert told(run(publisher, reader), run(publisher)) == [
        ("Reader.read", "it ran on input 1 in the reference only", False)
    ]
    assert told(run(publisher), run(publisher, reader)) == [
        ("Reader.read", "it ran on input 1 here only", False)
    ]
    assert told(run(publisher), run()) == [("Clerk.note", "it ran on input 1 in the reference only", False)]


def test_rows_readings_outcomes_and_errors_are_compared() -> None:
    one, other = (run(tables={"Clerk.rows": {"a": row}}) for row in (b"\x01", b"\x02"))
    assert told(one, other) == [("Clerk.rows", "table row 'a' ends as 2, not 1", False)]
    assert told(one, run()) == [("Clerk.rows", "table row 'a' ends as nothing, not 1", False)]
    one, other = (run(views={"Sales": {"a": codec.encode({"n": n})}}) for n in (1, 2))
    assert told(one, other) == [("Sales", "view row 'a' ends as n 2, not 1", False)]
    one, other = (run(outcomes=(("Till.pay", got),)) for got in ("7", "8"))
    assert told(one, other) == [("Till.pay", "input 1 got 8, not 7", False)]
    one, other = (run(step(error=error)) for error in ("", "Failed: no"))
    assert told(one, other) == [
        ("Clerk.note", "on Ordered 'o1': it ended with Failed: no, not an answer", False)
    ]


@pytest.mark.parametrize(
    "field", [name for name in Step.__struct_fields__ if name not in ("rank", "path", "title")]
)
def test_no_field_of_what_a_step_did_is_forgotten(field: str) -> None:
    other = {"kind": "X", "body": b"\xa1x", "tape": asked("P.q", 1, 2), "events": noted("x"),
             "writes": (("Clerk.rows", "a", b"\x01"),), "answer": b"\x01", "error": "Failed: x"}  # fmt: skip
    changed = msgspec.structs.replace(step(), **{field: other[field]})
    did = field in ("events", "writes", "answer", "error")
    assert bool(told(run(step()), run(changed))) is did, (
        "what it was given and read only tells who is to blame"
    )


@pytest.mark.parametrize(
    ("expected", "found", "words", "symptom"),
    [
        (1, 2, "2, not 1", "value"),
        ("a b c", "c b a", "'c b a', not 'a b c'", "order"),
        ([1, 2, 3], [3, 1, 2], "[3, 1, 2], not [1, 2, 3]", "order"),
        (0.1 + 0.2, 0.3, "0.3, not 0.30000000000000004", "rounding"),
        ({"a": 1, "b": {"c": [1, 2]}}, {"a": 1, "b": {"c": [1, 3]}}, "b.c [1, 3], not [1, 2]", "value"),
        (None, {"a": 1}, "{'a': 1}, not nothing", "value"),
        ([1.0] * 40, [1.0] * 39 + [1.0000000001], "[39] 1.0000000001, not 1.0", "rounding"),
        ("x" * 200, "y", "'y', not 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...", "value"),
    ],
)
def test_a_difference_is_told_in_few_words(expected: Any, found: Any, words: str, symptom: str) -> None:
    told = contrast(expected, found)
    assert (told.words, told.symptom) == (words, symptom)


def test_a_busy_machine_is_not_taken_for_a_mistake() -> None:
    late = codec.encode(("Overloaded", "Sales.ask: 2 calls wait already"))
    answered, refused = asked("Sales.ask", "x", 1), (("Sales.ask!", codec.encode(("x",)), late),)
    one, other = run(step(events=noted("1"), tape=answered)), run(step(events=noted("2"), tape=refused))
    (found,) = compared(one, other)[1]
    assert (found.where, found.symptom) == ("Clerk.note", "load")
    assert (
        found.what
        == "on Ordered 'o1': Sales.ask('x') ended with Overloaded there, and it did not pass that on"
    )
    (found,) = compared(run(step()), run(step(error="Lost: Clerk.note: cut at its deadline")))[1]
    assert found.symptom == "load"
