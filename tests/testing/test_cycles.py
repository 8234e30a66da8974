"""Cycles: a small history for each name, and serial ones in which there is nothing to find."""

from random import Random

import pytest
from msgspec.structs import replace

from allotrope.testing.cycles import Act, cycles

Reads = dict[str, str]


def act(name: str, appends: str = "", reads: Reads | None = None, at: tuple[float, float] = (0, 100)) -> Act:
    """`appends` is "x1 y2"; a read of "x" gives "12"."""
    given = tuple((word[0], word[1]) for word in appends.split())
    seen = tuple((key, tuple(values)) for key, values in (reads or {}).items())
    end = "fail" if name.startswith("!") else "ok"
    return Act(client=name, began=at[0], ended=at[1], end=end, appends=given, reads=seen)  # type: ignore[arg-type]


CASES = {
    "G0": [act("a", "x1 y1"), act("b", "x2 y2"), act("c", "", {"x": "12", "y": "21"})],
    "G1a": [act("!a", "x1"), act("b", "", {"x": "1"})],
    "G1b": [act("a", "x1 x2"), act("b", "", {"x": "1"}), act("c", "", {"x": "12"})],
    "G1c": [act("a", "x1", {"y": "1"}), act("b", "y1", {"x": "1"})],
    "G-single": [act("a", "x1 y1"), act("b", "", {"x": "", "y": "1"}), act("c", "", {"x": "1"})],
    "G2": [act("a", "x1", {"y": ""}), act("b", "y1", {"x": ""}), act("c", "", {"x": "1", "y": "1"})],
    "split": [act("c", "", {"x": "12"}), act("d", "", {"x": "2"}), act("a", "x1"), act("b", "x2")],
    "G-single-realtime": [
        act("a", "x1", at=(0, 1)),
        act("b", "", {"x": ""}, at=(2, 3)),
        act("c", "", {"x": "1"}, at=(4, 5)),
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_each_has_its_name(name: str) -> None:
    found = [*cycles(CASES[name])]
    assert name in {finding.name for finding in found}, found
    assert all(f"{each.client}: " in str(found) for each in CASES[name][:2])


def serial(chance: Random, count: int = 300) -> list[Act]:
    """Acts of many at once, each of which took effect at one moment between its begin and its end."""
    state: dict[str, list[str]] = {key: [] for key in "xyz"}
    acts = []
    for moment in range(count):
        reads = {key: tuple(state[key]) for key in state if chance.random() < 0.4}
        appends = tuple((key, str(moment)) for key in state if chance.random() < 0.3)
        for key, value in appends:
            state[key].append(value)
        times = (moment - chance.uniform(0, 9), moment + chance.uniform(0, 9))
        known = chance.random() < 0.9
        acts.append(
            Act(
                client=str(moment), began=times[0], ended=times[1] if known else float("inf"),
                end="ok" if known else "unknown", appends=appends, reads=tuple(reads.items()) if known else (),
            )
        )  # fmt: skip
    chance.shuffle(acts)
    return acts


@pytest.mark.parametrize("seed", range(10))
def test_a_serial_history_has_none(seed: int) -> None:
    assert [*cycles(serial(Random(seed)))] == []


@pytest.mark.parametrize("seed", range(10))
def test_a_read_that_lacks_the_last_value_is_found(seed: int) -> None:
    """Of an act that has surely been answered before the reader began."""
    acts = sorted(serial(Random(seed)), key=lambda act: act.began)
    for number, late in enumerate(acts):
        for key, values in late.reads:
            known = [act for act in acts if act.end == "ok" and (key, (values or ("",))[-1]) in act.appends]
            if known and known[0].ended < late.began:
                reads = tuple((k, v[:-1] if k == key else v) for k, v in late.reads)
                acts[number] = replace(late, reads=reads)
                names = {finding.name for finding in cycles(acts)}
                assert names & {"G-single", "G-single-realtime", "G2", "G2-realtime", "G1c"}
                return
    raise AssertionError("no such read")
