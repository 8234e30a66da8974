"""Modules that reach a component without a field of it, and private names of another's module."""

from tests.planning.cases.walls.inner import Trader
from tests.planning.cases.walls.ranking import Judge, Ranker
from tests.planning.cases.walls.sound import Buyer
from tests.planning.cases.walls.top import Seller
from tests.planning.refusal import planned, refusal

WALLS = "tests.planning.cases.walls"


def test_what_its_fields_name_may_be_imported() -> None:
    assert planned(Ranker, Judge, Buyer).units["all"] == ("Ranker", "Judge", "Buyer")


def test_a_component_without_a_field_and_private_names() -> None:
    place = f"top.py:{Seller.__component__}"  # type: ignore[attr-defined]  # where the class is written
    private = f"of {WALLS}.ranking, which is private there; drop the underscore, or move it out"
    assert refusal(Ranker, Judge, Seller) == [
        f"{place}  {WALLS}.top imports the component Ranker of {WALLS}.ranking, but none of its components "
        "(Seller) has a field of it; add a field, or publish an event",
        f"{place}  {WALLS}.top uses `_SEEN` {private}",
        f"{place}  {WALLS}.top uses `_guess` {private}",
    ]


def test_imports_inside_functions_are_seen_where_they_stand() -> None:
    line = Trader.trade.__code__.co_firstlineno
    none = "but none of its components (Trader) has a field of it; add a field, or publish an event"
    assert refusal(Ranker, Judge, Trader) == [
        f"inner.py:{line + 2}  {WALLS}.inner imports the component Ranker of {WALLS}.ranking, {none}",
        f"inner.py:{line + 8}  {WALLS}.inner imports the component Judge of {WALLS}.ranking, {none}",
        f"inner.py:{line + 8}  {WALLS}.inner uses `_guess` of {WALLS}.ranking, which is private there; "
        "drop the underscore, or move it out",
    ]
