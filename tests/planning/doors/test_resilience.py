"""What a topology says of calls that fail: each fault with its whole message, and what the plan shows of it."""

import pytest

from allotrope.kernel.components import App, component
from allotrope.kernel.operations import query
from allotrope.planning.documents import document_of
from allotrope.planning.plans import plan
from allotrope.planning.text import expansion
from allotrope.planning.topology import Resilience
from tests.planning.refusal import faults, preset


@component
class Model:
    @query
    async def score(self, card: str, amount: float) -> float:
        return amount

    @query
    async def name(self) -> str:
        return "first"


@component
class Rules:
    @query
    async def score(self, card: str, amount: float) -> float:
        return 0.5

    @query
    async def rough(self, card: str) -> float:
        return 0.5


@component
class Desk:
    model: Model

    @query
    async def ask(self, card: str) -> float:
        return await self.model.score(card, 1.0)


FALLS = '[resilience."Model.score"]\nfallback = "Rules.score"\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "[resilience.Modle]\nbreaker = 3",
            "resilience of `Modle`, which is no component, unit or query. Nearest: `Model`.",
        ),
        (
            '[resilience."*"]\ndeadline_s = 0.0',
            "resilience of `*` has deadline_s = 0.0; it must be at least 0.001",
        ),
        (
            "[resilience.Model]\nretries = -1.0",
            "resilience of `Model` has retries = -1.0; it must be at least 0",
        ),
        (
            '[resilience.Model]\nfallback = "Rules.score"',
            "resilience of `Model` has a fallback; only one query can fall back on another: name it, "
            'as in [resilience."Component.operation"]',
        ),
        (
            '[resilience."Model.score"]\nfallback = "Rules.scor"',
            "`Model.score` falls back on `Rules.scor`, which is no query. Nearest: `Rules.score`.",
        ),
        ('[resilience."Model.score"]\nfallback = "Model.score"', "`Model.score` falls back on itself"),
        (
            '[resilience."Model.score"]\nfallback = "Rules.rough"',
            "`Model.score` falls back on `Rules.rough`, which takes or gives other types; give it the same ones",
        ),
        (
            f'{FALLS}[resilience."Rules.score"]\nfallback = "Model.score"',
            "`Model.score` falls back on `Rules.score`, which falls back itself; one step is the most",
        ),
        ("[resilience.Model]\nbreakr = 3", "`breakr` is no key of resilience `Model`. Nearest: `breaker`."),
    ],
)
def test_what_cannot_be_kept_is_refused(text: str, fault: str) -> None:
    assert fault in faults(Model, Rules, Desk, text=text)


def test_the_nearest_name_holds() -> None:
    text = (
        f'base = "microservices"\n{FALLS}[resilience.Rules]\nretries = 0.0\n[resilience."*"]\nbreaker = 5\n'
    )
    made = plan(App("shop", Model, Rules, Desk), document_of(text, "shop.toml", preset))
    of = made.topology.resilience_of
    assert of("Model.score", "Model") == Resilience(fallback="Rules.score")
    assert of("Rules.score", "Rules") == Resilience(retries=0.0)
    assert of("Model.name", "Model") == Resilience(breaker=5)
    assert "Model.score  Rules.score  instead, when it cannot be had in time" in expansion(made)


def test_in_one_process_there_is_nothing_to_protect() -> None:
    made = plan(
        App("shop", Model, Rules, Desk), document_of(f'base = "monolith"\n{FALLS}', "shop.toml", preset)
    )
    assert any("resilience of `Model.score` has no effect" in warning for warning in made.warnings)
