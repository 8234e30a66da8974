"""What a topology lets wait: each fault and warning with its whole message."""

from importlib import resources

from allotrope.kernel.components import App, component
from allotrope.kernel.operations import query
from allotrope.planning.documents import document_of
from allotrope.planning.plans import plan
from tests.planning.refusal import faults, planned, preset


@component
class Model:
    @query
    async def score(self, card: str) -> float:
        return 0.5


@component
class Desk:
    model: Model

    @query
    async def ask(self, card: str) -> float:
        return await self.model.score(card)


@component
class Board:
    model: Model

    @query
    async def show(self, card: str) -> float:
        return await self.model.score(card)


def test_the_preset_is_short_and_fits() -> None:
    text = resources.files("allotrope.architectures").joinpath("event-driven.toml").read_text("utf-8")
    assert len(text.splitlines()) <= 20
    made = plan(App("shop", Model, Desk), document_of(text, "event-driven.toml", preset))
    assert (made.topology.reply, made.topology.edge_of("Desk", "Model").via) == ("accepted", "queue")
    assert made.apart
    assert made.warnings == ()


def test_what_waits_needs_a_place() -> None:
    assert faults(Model, Desk, text='reply = "accepted"\n[log]\nbacklog = 0\n') == [
        'reply is `accepted`, but durability is `none`, so what waits would be lost; use durability = "process"',
        "log has backlog = 0; at least one input must be let in",
    ]


def test_one_unit_has_one_way_to_a_callee() -> None:
    text = (
        'durability = "process"\n[unit.all]\ncomponents = ["Desk", "Board"]\n[unit.model]\ncomponents = ["*"]\n'
        '[edge."*"]\nvia = "queue"\n[edge."Desk -> Model"]\nvia = "rpc"\n[topic."*"]\nvia = "log"\n'
    )
    assert faults(Model, Desk, Board, text=text) == [
        "unit `all` calls Model both by `rpc` and by `queue`; one unit has one way"
    ]


def test_a_queue_under_a_short_deadline_is_warned_of() -> None:
    text = '[edge."*"]\nvia = "queue"\n[component.Model]\ndeadline_s = 0.004\n'
    assert [warning.partition("  ")[2] for warning in planned(Model, Desk, text=text).warnings] == [
        "edge `Desk -> Model` is a queue, but Model.score must answer within 4 ms; use `rpc`"
    ]
    assert planned(Model, Desk, text=text.replace("0.004", "0.1")).warnings == ()
