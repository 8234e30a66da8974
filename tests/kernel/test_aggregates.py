"""The base of aggregates: what a reading shows, what the live view says, what an expert writes."""

import pytest

from allotrope import Aggregate, Count, Event, Sum, View, days


class Paid(Event, key="card"):
    card: str
    cents: int


class Longest(Aggregate[int]):
    """An expert's own: the longest run of equal digits is not needed, the largest even number is."""

    def zero(self) -> int:
        return 0

    def add(self, state: int, value: int, mark: tuple[int, int, str]) -> int:
        return self.merge(state, 0 if value % 2 else value)

    def merge(self, one: int, other: int) -> int:
        return max(one, other)

    def result(self, state: int) -> int:
        return state


class Totals(View[Paid]):
    count = Count()
    cents = Sum("cents")
    even = Longest("cents")


class Recent(View[Paid]):
    even = Longest("cents", window=days(1))


async def test_a_reading_shows_figures_and_the_class_shows_aggregates() -> None:
    totals = Totals()
    for cents in (5, 8, 4):
        totals.add(Paid("c", cents))
    reading = await totals.of("c")
    assert (reading.count, reading.cents, reading.even) == (3, 17, 8)
    assert isinstance(Totals.count, Count)
    assert (Totals.cents.name, Totals.cents.field, Totals.cents.kind) == ("cents", "cents", int)


def test_the_live_view_has_no_figures_of_its_own() -> None:
    with pytest.raises(
        AttributeError, match=r"Totals\.count is of one key: read it with `await view\.of\(key\)`"
    ):
        _ = Totals().count


def test_an_experts_aggregate_answers_for_a_window_by_its_four_functions() -> None:
    recent = Recent()
    for cents in (5, 8, 4):
        recent.add(Paid("c", cents))
    assert recent.reading("c", 3, 10).even == 8
    assert recent.reading("c", 3, 2).even == 0
    assert Longest("cents").over([6, 2, 10], 0, 2) == 6


@pytest.mark.parametrize("ask", ["zero", "add", "merge", "result"])
def test_an_aggregate_that_lacks_one_says_so(ask: str) -> None:
    arguments = {"zero": (), "add": (0, 0, (0, 0, "")), "merge": (0, 0), "result": (0,)}[ask]
    with pytest.raises(NotImplementedError):
        getattr(Aggregate[int](), ask)(*arguments)
