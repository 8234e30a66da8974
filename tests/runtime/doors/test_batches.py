"""Traces of batches: below the one call that a batch serves, or linked to the several."""

import asyncio
from pathlib import Path

from allotrope import App, compose
from allotrope.kernel.components import component
from allotrope.kernel.operations import query
from allotrope.runtime.options import Options
from allotrope.runtime.telemetry.spans import SpanStore
from allotrope.runtime.tracing import Span, Tracer

GATES: list[asyncio.Event] = []


@component
class Weights:
    @query
    async def of(self, name: str) -> int:
        return len(name)


@component
class Model:
    weights: Weights

    @query(batch=8)
    async def score(self, cards: tuple[str, ...]) -> tuple[int, ...]:
        if "first" in cards:
            await GATES[-1].wait()
        found = await self.weights.of("model")
        if "bad" in cards:
            raise ValueError("bad")
        return tuple(found + len(card) for card in cards)


async def spans_of(*cards: str) -> list[Span]:
    """The spans of calls that come while the first one is at work, so that all others are one batch."""
    GATES.append(asyncio.Event())
    tracer = Tracer()
    host = compose.build(App("shop", Weights, Model), "monolith", None, Options(tracer=tracer))
    await host.start()
    model = host.of(Model)
    calls = [asyncio.ensure_future(model.score(card)) for card in ("first", *cards)]
    meter = host.services.meters["Model.score"]
    async with asyncio.timeout(10):
        for _ in iter(lambda: meter.started == len(calls), True):
            await asyncio.sleep(0)
    GATES[-1].set()
    await asyncio.gather(*calls, return_exceptions=True)
    await host.close()
    return list(tracer.finished)


async def test_a_batch_is_linked_to_all_that_it_serves() -> None:
    spans = await spans_of("a", "bb", "ccc")
    batch, *others = [span for span in spans if span.name == "Model.score batch"]
    calls = {span.traceparent for span in spans if span.name == "Model.score"}
    assert not others
    assert (len(calls), len(batch.links), batch.parent_id) == (4, 3, 0)
    assert set(batch.links) < calls
    below = {span.parent_id: span.trace_id for span in spans if span.name == "Weights.of"}
    assert below[batch.span_id] == batch.trace_id
    assert len(below) == 2  # the first call was alone: what it asks stands below it
    assert below.keys() - {batch.span_id} <= {span.span_id for span in spans if span.name == "Model.score"}


async def test_a_batch_that_fails_says_so_and_its_values_are_tried_alone() -> None:
    spans = await spans_of("a", "bad")
    assert [span.status for span in spans if span.name == "Model.score batch"] == ["ValueError"]
    assert sorted(span.status for span in spans if span.name == "Model.score") == ["Failed", "ok", "ok"]


def test_links_are_kept(tmp_path: Path) -> None:
    store = SpanStore(tmp_path)
    links = (f"00-{5:032x}-{6:016x}-01", f"00-{7:032x}-{8:016x}-01")
    store.keep([Span(1, 2, 0, "batch", 3, 4, links=links), Span(1, 3, 2, "call", 3, 4)])
    assert [span.links for span in store.trace(f"{1:032x}")] == [links, ()]
    store.close()
