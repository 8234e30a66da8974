"""A plan as it is shown."""

from allotrope.planning.text import expansion
from tests.planning.cases.events import SHOP
from tests.planning.refusal import planned
from tests.planning.test_plans import Hurried

SHOWN = """\
shop under shop.toml
  durability none, reply after the whole chain of handlers, 16 partitions, 256 inputs in flight

units
  all  1 replica, 1 cpu, 512 MB, 0.5 gpu
    Spending, Intake, Features, Scorer, Desk, Hurried, sidecar requests

components
  Intake  (64 calls at once, 1024 waiting)
    command  accept(id: str, card: str, amount: Decimal, at: datetime) -> Payment  key card
  Features  (64 calls at once, 1024 waiting)
    query  total(card: str) -> Decimal
    needs  spending: Spending
  Scorer  (64 calls at once, 1024 waiting, events tried 3 times)
    on       score(Payment) -> Scored
    needs    features: Features
    setting  threshold: float = 0.5    by the topology
  Desk  (64 calls at once, 1024 waiting, 250 ms each, events tried 3 times)
    on       open(Scored) -> Opened | None
    query    waiting() -> tuple[str, ...]
    command  close(card: str) -> nothing    key card; faults Closed
    needs    cases: Table[Scored]
  Hurried  (64 calls at once, 1024 waiting, events tried 3 times)
    on     score(Payment) -> Scored
    query  guess() -> float
    needs  spending: Spending        latest
    needs  features: Features        latest

calls
  Scorer.score   -> Features.total  by call
  Hurried.score  -> Features.total  by call

views
  Spending  adds up Payment by card, in time of `at`, kept 8 d
    total  Sum(amount)  over 7 d
    count  Count()      over 1 d
    waited for by Features.total, Scorer.score

topics
  Payment  by card  memory
  Scored   by card  memory
  Opened   by card  memory

data path
  Intake.accept (command)
    -> Payment
       Spending (view)
       Scorer.score (on)
         -> Scored
            Desk.open (on)
              -> Opened
       Hurried.score (on)
         -> Scored
            Desk.open (on), as above
  Desk.close (command)

outside equality (read as they are, without waiting)
  Hurried.spending  Spending  at most 1 min old
  Hurried.features  Features  at most 5 s old

answers that may vary (recorded before use)
  Hurried.guess

warnings
  shop.toml:5  unit `all` has a GPU and runs 6 components; infer in a unit of its own
  shop.toml:6  unit `all` gets no sidecar requests: only one in a process of its own does
"""


def test_a_plan_is_shown_whole() -> None:
    text = '[component.Desk]\ndeadline_s = 0.25\n[unit.all]\ngpu = 0.5\nsidecars = ["requests"]'
    made = planned(*SHOP, Hurried, text=f"{text}\n[setting]\nScorer.threshold = 0.5")
    shown, _, warned = expansion(made).partition("warnings\n")
    loose, _, expected = " ".join(warned.split()), *SHOWN.partition("warnings\n")[1:]
    assert shown == SHOWN.partition("warnings\n")[0]
    assert warned.endswith(expected)
    assert loose.count(" is read without waiting, and nothing holds it to its bound yet, ") == 2
