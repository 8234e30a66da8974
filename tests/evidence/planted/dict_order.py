"""A query builds a dict from a set and answers with its first entry."""

from allotrope import App, component, query
from tests.evidence.shop import CUSTOMERS, asked

PLACES = {"Prices.first"}


@component
class Prices:
    @query
    async def first(self, item: str) -> str:
        lengths = {name: len(name) for name in set(CUSTOMERS)}
        return f"{item} for {next(iter(lengths))}"


app = App(
    "dict-order",
    Prices,
    sample=lambda seed: (
        given for given in asked("Prices.first", "apple", "bread", seed=seed) if not hasattr(given, "event")
    ),
)
