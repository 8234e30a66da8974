"""Three kinds of error, told apart by what the caller may do next; all messages say what to do."""

import pickle

import pytest

from allotrope import Expired, Failed, Fault, Lost, Overloaded, PlanRefused, Refused
from allotrope.kernel.errors import Corrupted, nearest


def test_there_are_three_kinds_and_no_common_one() -> None:
    for kind in (Overloaded, Expired, PlanRefused, Corrupted):
        assert issubclass(kind, Refused)
    for kind in (Refused, Failed, Lost, Fault):
        assert kind.__bases__ == (Exception,)


def test_an_overload_says_when_to_come_back() -> None:
    assert Overloaded("full", 1.5).retry_after_s == 1.5
    assert Refused("wrong").retry_after_s is None


@pytest.mark.parametrize(
    ("faults", "first"), [(("a",), "1 fault in x.toml"), (("a", "b"), "2 faults in x.toml")]
)
def test_a_refused_plan_lists_every_fault(faults: tuple[str, ...], first: str) -> None:
    refused = PlanRefused("x.toml", faults)
    assert str(refused).splitlines() == [first, *(f"  {fault}" for fault in faults)]
    assert refused.faults == faults


def test_a_failure_names_who_failed_and_why() -> None:
    failed = Failed("Desk", "decide", "KeyError: 'a'")
    assert str(failed) == "Desk.decide failed: KeyError: 'a'"
    assert (failed.component, failed.operation, failed.cause) == ("Desk", "decide", "KeyError: 'a'")


def test_the_nearest_name_or_the_list() -> None:
    assert nearest("Rankr", ["Ranker", "Scorer"]) == "Nearest: `Ranker`."
    assert nearest("Q", {"b", "a"}) == "Known: a, b."
    assert nearest("Q", []) == "Known: none."


@pytest.mark.parametrize("error", [Refused("a"), Overloaded("a"), Expired("a"), Corrupted("a"), Lost("a")])
def test_plain_errors_are_pickled(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
