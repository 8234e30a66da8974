"""The turnstile: bounded, fair by weight, and no place is ever lost."""

import asyncio
from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from allotrope.gateway.access.turnstile import Turnstile
from allotrope.kernel.errors import Overloaded


async def served(turnstile: Turnstile, asked: list[tuple[str, float]], rounds: int) -> Counter[str]:
    """All ask again as soon as they are served, one at a time: who got how many."""
    found: Counter[str] = Counter()
    waiting: list[tuple[asyncio.Future[None] | None, str, float]] = []
    for name, weight in asked:
        waiting.append((turnstile.enter(name, weight), name, weight))
    for _ in range(rounds):
        number = next(n for n, (turn, *_) in enumerate(waiting) if turn is None or turn.done())
        _, name, weight = waiting.pop(number)
        found[name] += 1
        waiting.append((turnstile.enter(name, weight), name, weight))
        turnstile.leave()
    return found


async def test_tenants_share_by_their_weights_however_many_ask() -> None:
    asked = [("greedy", 1.0)] * 20 + [("polite", 1.0)] * 2 + [("large", 2.0)] * 4
    found = await served(Turnstile(1, 100), asked, 4000)
    assert abs(found["greedy"] - 1000) < 20
    assert abs(found["polite"] - 1000) < 20
    assert abs(found["large"] - 2000) < 40


async def test_a_full_line_makes_room_for_who_waits_less() -> None:
    turnstile = Turnstile(1, 4)
    assert turnstile.enter("greedy", 1.0) is None
    lines = [turnstile.enter("greedy", 1.0) for _ in range(4)]
    polite = turnstile.enter("polite", 1.0)
    assert isinstance(lines[-1].exception(), Overloaded)  # type: ignore[union-attr]
    turnstile.leave()
    turnstile.leave()
    assert polite is not None
    assert polite.done()
    assert (turnstile.waiting, turnstile.free) == (2, 0)


async def test_what_was_had_while_there_was_room_is_not_held_against_anybody() -> None:
    turnstile = Turnstile(1, 10)
    for _ in range(1000):
        turnstile.enter("old", 1.0)
        turnstile.leave()
    turnstile.enter("old", 1.0)
    old, new = turnstile.enter("old", 1.0), [turnstile.enter("new", 1.0) for _ in range(5)]
    for _ in range(2):
        turnstile.leave()
    assert old is not None
    assert old.done() or sum(turn is not None and turn.done() for turn in new) <= 1


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 6))
def test_no_place_is_lost(seed: int, places: int, queue: int) -> None:
    async def run() -> None:
        chance, turnstile = Random(seed), Turnstile(places, queue)
        inside, waiting = 0, list[asyncio.Future[None]]()
        for _ in range(200):
            act = chance.random()
            if act < 0.5:
                try:
                    turn = turnstile.enter(chance.choice("abc"), chance.choice((0.5, 1.0, 2.0)))
                except Overloaded:
                    assert turnstile.waiting == queue
                else:
                    if turn is None:
                        inside += 1
                    else:
                        waiting.append(turn)
            elif act < 0.8 and inside:
                turnstile.leave()
                inside -= 1
            elif waiting:
                turnstile.quit(waiting.pop(chance.randrange(len(waiting))))
            while done := [turn for turn in waiting if turn.done()]:
                turn = done[0]  # to quit gives its place to another at once
                waiting.remove(turn)
                if chance.random() < 0.3:
                    turnstile.quit(turn)
                else:
                    inside += turn.exception() is None
            assert inside == places - turnstile.free <= places
            assert len(waiting) == turnstile.waiting <= queue
            assert not (turnstile.free and turnstile.waiting)

    asyncio.run(run())
