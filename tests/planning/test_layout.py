"""Topologies against an app: each fault with its whole message."""

from dataclasses import field as default
from decimal import Decimal

import pytest

from allotrope.kernel.components import App, component
from allotrope.kernel.operations import query
from tests.planning.cases.events import SHOP
from tests.planning.refusal import faults, planned, refusal

app = App("shop", *SHOP)
LACKS = "which app shop does not have."


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            '[unit.all]\ncomponents = ["Scoerr", "*"]',
            f"shop.toml:3  unit `all` lists `Scoerr`, {LACKS} Nearest: `Scorer`.",
        ),
        (
            '[unit.all]\ncomponents = ["Desk", "Desk", "*"]',
            "shop.toml:3  unit `all` lists `Desk` twice; a component runs in one unit",
        ),
        (
            '[unit.more]\ncomponents = ["*"]',
            "shop.toml:3  unit `more` lists the rest, `*`, and so does unit `all`; "
            "a component runs in one unit",
        ),
        (
            '[unit.all]\ncomponents = ["Spending", "Features", "Scorer", "Desk"]',
            'shop.toml:2  no unit runs Intake; list them, or let one unit take the rest: components = ["*"]',
        ),
        (
            '[unit.all]\nsidecars = ["request"]',
            "shop.toml:3  unit `all` wants the sidecar `request`, which there is not. Nearest: `requests`.",
        ),
        (
            "[sidecar.requests]\nfiles = 0",
            "shop.toml:3  sidecar `requests` has files = 0; it must be over 0",
        ),
        (
            "[sidecar.requestz]\nfiles = 1",
            "shop.toml:2  sidecar `requestz` is none that there is. Nearest: `requests`.",
        ),
        (
            "[unit.all]\nreplicas = [3, 1]",
            "shop.toml:3  unit `all` has replicas [3, 1]; the first is the least, so write [1, 3]",
        ),
        (
            "[unit.all]\nreplicas = [0, 0]",
            "shop.toml:3  unit `all` has replicas [0, 0]; at least one must be allowed to run: [1, 1]",
        ),
        (
            "[unit.all]\nreplicas = [1, 3]",
            "monolith.toml:2  durability is `none`, but all run in processes of their own, which may end one by one; "
            'use durability = "process" or "power", or one unit with replicas = [1, 1]',
        ),
        ("[unit.all]\ncpu = 0", "shop.toml:3  unit `all` has cpu = 0.0; it must be over 0, as cpu = 0.1"),
        ("[unit.all]\ncpu = nan", "shop.toml:3  unit `all` has cpu = nan; it must be over 0, as cpu = 0.1"),
        (
            "[unit.all]\nmemory_mb = -5",
            "shop.toml:3  unit `all` has memory_mb = -5; it must be over 0, as memory_mb = 64",
        ),
        (
            "[unit.all]\ngpu = -1.0",
            "shop.toml:3  unit `all` has gpu = -1.0; it may be 0, a part of one, or a number of them",
        ),
        (
            '[edge."Scorer -> Featres"]\nvia = "call"',
            f"shop.toml:2  edge `Scorer -> Featres` names `Featres`, {LACKS} Nearest: `Features`.",
        ),
        (
            "[edge.Scorer]",
            'shop.toml:2  edge `Scorer` names no two components; write "Caller -> Callee", or "*" for all',
        ),
        ("[topic.Payments]", "shop.toml:2  topic `Payments` is no event of app shop. Nearest: `Payment`."),
        ("[component.Dsk]", f"shop.toml:2  limits of `Dsk`, {LACKS} Nearest: `Desk`."),
        (
            "[component.Desk]\nconcurrency = 0",
            "shop.toml:3  component `Desk` has concurrency = 0; at least one call must be let in",
        ),
        ('[component."*"]\nqueue = -1', "shop.toml:3  component `*` has queue = -1; use 0 for no waiting"),
        (
            "[component.Desk]\ndeadline_s = 0.0",
            "shop.toml:3  component `Desk` has deadline_s = 0.0; it must be over 0",
        ),
        ("partitions = 0", "shop.toml:2  `partitions` is 0; it must be at least 1"),
        ("window = 0", "shop.toml:2  `window` is 0; it must be at least 1"),
        (
            "[setting]\nDsk.limit = 1",
            f"shop.toml:3  setting `Dsk.limit` is of `Dsk`, {LACKS} Nearest: `Desk`.",
        ),
        (
            "[setting]\nScorer.treshold = 1",
            "shop.toml:3  setting `Scorer.treshold`: Scorer has no setting `treshold`. Nearest: `threshold`.",
        ),
        (
            "[setting]\nScorer.features = 1",
            "shop.toml:3  setting `Scorer.features` is a component, which no topology sets. "
            "Settings of Scorer: threshold.",
        ),
        (
            '[setting]\nScorer.threshold = "high"',
            "shop.toml:3  setting `Scorer.threshold` is 'high': Expected `float`, got `str`",
        ),
        (
            '[setting]\n"Scorer.threshold" = inf',
            "shop.toml:3  setting `Scorer.threshold`: inf is not a finite float; "
            "drop or replace it before it enters",
        ),
        (
            'durability = "process"',
            "monolith.toml:12  topic `*` is in memory, but durability is `process`: "
            'it would be silently weakened; use via = "log", or durability = "none"',
        ),
        (
            'durability = "power"\n[topic."*"]\nvia = "log"\n[topic.Payment]\nvia = "memory"',
            "shop.toml:6  topic `Payment` is in memory, but durability is `power`: "
            'it would be silently weakened; use via = "log", or durability = "none"',
        ),
        (
            '[topic.Scored]\nvia = "log"',
            "shop.toml:3  topic `Scored` is in a log, but durability is `none`: "
            'the log would not be written; use durability = "process" or "power", or via = "memory"',
        ),
    ],
)
def test_a_line_that_the_app_does_not_bear_out(text: str, fault: str) -> None:
    assert refusal(*SHOP, text=text) == [fault]


def test_a_component_runs_in_one_unit() -> None:
    text = '[unit.hot]\ncomponents = ["Desk"]\n[unit.cold]\ncomponents = [\n"Desk"]'
    assert refusal(*SHOP, text=text) == [
        'monolith.toml:12  topic `Scored` is in memory, but crosses the units all, cold; use via = "log"',
        "shop.toml:6  unit `cold` lists `Desk` and so does unit `hot`; a component runs in one unit",
    ]


def test_calls_and_events_in_memory_stay_in_one_process() -> None:
    assert faults(*SHOP, text='[unit.hot]\ncomponents = ["Features", "Desk"]') == [
        "edge `Features -> Spending` is `call`, but the two run in different units, `hot` and `all`; "
        "use `rpc` or `queue`, or join the units",
        "edge `Scorer -> Features` is `call`, but the two run in different units, `all` and `hot`; "
        "use `rpc` or `queue`, or join the units",
        'topic `Scored` is in memory, but crosses the units all, hot; use via = "log"',
    ]


@component
class Tuned:
    words: tuple[str, ...]
    rate: Decimal
    share: float = 0.5
    names: tuple[str, ...] = default(default_factory=tuple)

    @query
    async def ask(self) -> None: ...


def test_settings_are_of_their_types() -> None:
    made = planned(Tuned, text='[setting]\nTuned.words = ["a", "b"]\nTuned.rate = "0.25"\nTuned.share = 1')
    assert made.topology.setting == {
        "Tuned.words": ("a", "b"),
        "Tuned.rate": Decimal("0.25"),
        "Tuned.share": 1.0,
    }


def test_a_setting_without_default_must_be_given() -> None:
    assert faults(Tuned) == [
        "setting `Tuned.rate` has no default and the topology gives none; add it under [setting]",
        "setting `Tuned.words` has no default and the topology gives none; add it under [setting]",
    ]
