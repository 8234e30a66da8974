"""A query whose answer is lost on the way is asked again, within a budget; a command is not."""

import pytest

from allotrope import App, Lost, command, component, query
from allotrope.compose import document, stores
from allotrope.kernel.operations import Operation
from allotrope.planning.plans import plan
from allotrope.runtime.host import Host
from allotrope.runtime.sites.here import Here
from allotrope.runtime.wiring import Ask

LOSSES = 0


@component
class Echo:
    @query
    async def say(self, word: str) -> str:
        return word

    @query(repeatable=False)
    async def once(self, word: str) -> str:
        return word

    @command(key="word")
    async def keep(self, word: str) -> str:
        return word


def losing(operation: Operation, ask: Ask) -> Ask:
    """A link that loses as many answers as `LOSSES` says."""

    async def asked(*given: object, **named: object) -> object:
        global LOSSES
        answer = await ask(*given, **named)
        if LOSSES:
            LOSSES -= 1
            raise Lost("the link broke")
        return answer

    return asked


async def test_lost_answers_are_asked_for_again_within_a_budget() -> None:
    global LOSSES
    made = plan(App("echo", Echo), document("loopback"))
    log, ledger = stores(made.topology, None)
    host = Host(made, log, Here(made, ledger, {"loopback": losing}))
    await host.start()
    echo = host.of(Echo)
    LOSSES = 8
    assert await echo.say("a") == "a"
    LOSSES = 1000
    with pytest.raises(Lost, match="the link broke"):
        await echo.say("b")
    assert 980 < LOSSES < 1000, "a storm of repeats"
    LOSSES = 1
    with pytest.raises(Lost):
        await echo.once("c")
    await host.close()
