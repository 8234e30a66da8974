"""A plan as it is shown."""

from allotrope.planning.text import expansion
from tests.planning.cases.events import SHOP
from tests.planning.refusal import planned
from tests.planning.test_plans import Hurried

SHOWN = """\
"""


def test_a_plan_is_shown_whole() -> None:
    text = '[component.Desk]\ndeadline_s = 0.25\n[unit.all]\ngpu = 0.5\nsidecars = ["audit"]'
    made = planned(*SHOP, Hurried, text=f"{text}\n[setting]\nScorer.threshold = 0.5")
    assert expansion(made) == SHOWN
