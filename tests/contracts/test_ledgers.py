"""What every ledger must do, whatever holds it: the contract that `allotrope.testing` ships, over our own."""

import pytest

from allotrope.testing.contracts import Case, Make
from allotrope.testing.ledgers import LEDGER


@pytest.mark.parametrize("case", tuple(LEDGER), ids=str)
def test_a_ledger_keeps_its_contract(case: Case, ledger_make: tuple[Make, bool]) -> None:
    make, durable = ledger_make
    case.run(make, durable=durable)
