"""What every log must do, whatever carries it: the contract that `allotrope.testing` ships, over our own."""

import pytest

from allotrope.testing.contracts import Case, Make
from allotrope.testing.logs import LOG


@pytest.mark.parametrize("case", tuple(LOG), ids=str)
def test_a_log_keeps_its_contract(case: Case, log_make: tuple[Make, bool]) -> None:
    make, durable = log_make
    case.run(make, durable=durable)
