"""What callers in another unit do as the topology says: how many ask at once, how often again, who answers instead."""

import asyncio
from pathlib import Path

import pytest

from allotrope import App, Event, Table, component, on, query
from allotrope.kernel import codec
from allotrope.kernel.errors import Lost
from tests.runtime.sites.inline import SPLIT, hosted


class Asked(Event, key="who"):
    who: str


class Gate:
    """What the tests hold shut."""

    opened = asyncio.Event()
    running = most = 0


@component
class Model:
    @query
    async def score(self, who: str) -> float:
        return 0.9

    @query
    async def slow(self, who: str) -> float:
        Gate.running += 1
        Gate.most = max(Gate.most, Gate.running)
        await Gate.opened.wait()
        Gate.running -= 1
        return 0.9


@component
class Rules:
    @query
    async def rough(self, who: str) -> float:
        return 0.1


@component
class Desk:
    model: Model
    scores: Table[float]

    @on(Asked)
    async def decide(self, asked: Asked) -> None:
        await self.scores.put(asked.who, await self.model.score(asked.who))

    @query
    async def score(self, who: str) -> float | None:
        return await self.scores.get(who)


app = App("shop", Model, Rules, Desk)
FALLS = '[resilience."Model.score"]\nfallback = "Rules.rough"\nretries = 0.0\n'


@pytest.mark.parametrize(("places", "most"), [("", 5), ("[resilience.Model]\nconcurrency = 2", 2)])
async def test_so_many_ask_at_once(tmp_path: Path, places: str, most: int) -> None:
    Gate.opened, Gate.running, Gate.most = asyncio.Event(), 0, 0
    host, _ = hosted(app, tmp_path, f"{SPLIT}{places}\n")
    await host.start()
    asking = [asyncio.create_task(host.of(Model).slow("ann")) for _ in range(5)]
    await asyncio.wait(asking, timeout=0.2)  # time enough for more to come in than may
    Gate.opened.set()
    assert await asyncio.gather(*asking) == [0.9] * 5
    assert Gate.most == most
    await host.drain()


@pytest.mark.parametrize(("share", "again"), [("", True), ("[resilience.Model]\nretries = 0.0", False)])
async def test_a_lost_answer_is_asked_for_again_if_the_path_may_afford_it(
    tmp_path: Path, share: str, again: bool
) -> None:
    host, wire = hosted(app, tmp_path, f"{SPLIT}{share}\n")
    await host.start()
    wire.losses["ask"] = 1
    if again:
        assert await host.of(Model).score("ann") == 0.9
    else:
        with pytest.raises(Lost):
            await host.of(Model).score("ann")
    await host.drain()


async def test_a_handler_goes_on_with_what_the_fallback_says(tmp_path: Path) -> None:
    """Its decision record says what it was told, so that a replay needs nobody."""
    host, wire = hosted(app, tmp_path, f"{SPLIT}{FALLS}")
    await host.start()
    await wire.take_down("Model")
    origin = await host.publish(Asked("ann"))
    await host.settled(origin)
    assert await host.of(Desk).score("ann") == 0.1
    assert wire.stations["Desk"].services.meters["Model.score"].fallbacks == 1
    wire.raise_up("Model")
    await host.publish(Asked("bob"))
    await host.settled()
    assert await host.of(Desk).score("bob") == 0.9
    told = [(what, answer) for r in (await host.site.contents()).records for what, _, answer in r.tape]
    assert [codec.decode(answer, float) for what, answer in told if what == "Model.score"] == [0.1, 0.9]
    await host.drain()
