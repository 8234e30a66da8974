"""The form of a topology: unknown keys and wrong types, all at once."""

from allotrope.planning.documents import document_of
from allotrope.planning.topology import Edge, Limit, Topic, topology_of
from tests.planning.refusal import preset

TEXT = """
durabilty = "process"
reply = "later"
unit = 3
[edge.one]
via = "cal"
[topic]
Payment = "log"
[component.Desk]
concurrency = "many"
qeue = 3
[component."*"]
concurrency = 8
[setting]
Scorer.threshold = 1
"Desk.limit" = 2
"""


def test_every_fault_of_form_is_found() -> None:
    _, faults = topology_of(document_of(TEXT, "shop.toml", preset))
    assert [str(fault) for fault in faults] == [
        "shop.toml:2  `durabilty` is no key of a topology. Nearest: `durability`.",
        "shop.toml:3  `reply` is 'later'; it may be chain, effect, accepted",
        "shop.toml:4  `unit` is 3; write a table, as in [unit.NAME]",
        "shop.toml:6  `via` of edge `one` is 'cal'; it may be call, loopback, rpc, queue",
        "shop.toml:8  topic `Payment` is 'log'; write a table: [topic.Payment]",
        "shop.toml:10  `concurrency` of component `Desk` is 'many': Expected `int`, got `str`",
        "shop.toml:11  `qeue` is no key of component `Desk`. Nearest: `queue`.",
    ]


def test_what_is_sound_is_kept() -> None:
    made, _ = topology_of(document_of(TEXT, "shop.toml", preset))
    assert made.limit_of("Scorer") == Limit(concurrency=8)
    assert made.limit_of("Desk") == Limit()
    assert made.setting == {"Scorer.threshold": 1, "Desk.limit": 2}


def test_the_star_is_the_default() -> None:
    text = '[edge."*"]\nvia = "loopback"\n[edge."A -> B"]\n[topic."*"]\nvia = "log"\n[topic.Payment]\n'
    made, faults = topology_of(document_of(text, "shop.toml", preset))
    assert faults == []
    assert made.edge_of("A", "B") == Edge("call")
    assert made.edge_of("B", "A") == Edge("loopback")
    assert made.topic_of("Payment") == Topic("memory")
    assert made.topic_of("Scored") == Topic("log")
    assert made.durable


def test_a_unit_says_what_it_runs() -> None:
    text = '[unit.all]\ncpu = 2\n[unit.hot]\ncomponents = ["A"]\nenvironment = { B = "2", A = "1" }\n'
    made, faults = topology_of(document_of(text, "shop.toml", preset))
    assert [str(fault) for fault in faults] == ["shop.toml:1  unit `all` does not say its `components`"]
    assert made.unit["hot"].environment == (("A", "1"), ("B", "2"))
