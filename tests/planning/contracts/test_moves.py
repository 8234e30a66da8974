"""What two topologies of one app differ in is told, and refused where its data could not follow."""

import pytest

from allotrope.planning.contracts.moves import moved
from allotrope.planning.plans import Plan, plan
from tests.cli.shop import app
from tests.planning.refusal import document


def planned(text: str) -> Plan:
    return plan(app, document(text))


DURABLE = 'durability = "process"\ntopic."*".via = "log"\n'


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", []),
        ("", DURABLE, ["durability: `none` became `process` (any order)"]),
        (DURABLE, "", ["durability: `process` became `none` (refused)"]),
        (DURABLE, DURABLE + "partitions = 4\n", ["partitions: 16 became 4 (refused)"]),
        ("", "partitions = 4\n", []),
        ("", 'reply = "effect"\n', ["reply: after the chain became after the effect (any order)"]),
        ("", "unit.all.memory_mb = 800\n", ["unit all: memory_mb 512 became 800 (any order)"]),
        ("", '[edge."*"]\nvia = "loopback"\n', ["edge *: `call` became `loopback` (any order)"]),
    ],
)
def test_a_topology_changes(old: str, new: str, expected: list[str]) -> None:
    found = [f"{c.place}: {c.what} ({c.order})" for c in moved(planned(old), planned(new))]
    assert found == expected
