"""Card fraud, end to end: from a payment at the door to a decision, a review and, a week later, the truth."""

from allotrope import App
from examples.fraud.deciding import Decider
from examples.fraud.decisions import Decisions, Totals
from examples.fraud.desk import Desk
from examples.fraud.features import Champion, Risk, Spending
from examples.fraud.intake import Intake
from examples.fraud.lab.sampling import sample
from examples.fraud.models import Models
from examples.fraud.scoring import Scorer

app = App(
    "fraud",
    *(Intake, Spending, Risk, Champion, Models, Scorer, Decider, Desk, Decisions, Totals),
    sample=sample,
)
