"""Events that fail, and those behind them: a key is parked alone, and comes back in its order."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from allotrope.compose import build
from allotrope.engines.desk import Desk, Wish
from allotrope.kernel.errors import Refused
from allotrope.runtime.effects.letters import Search
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from allotrope.testing.presets import Live, every_preset
from tests.runtime.effects.ward import Follows, Job, Works, app

NAMES = ("ann", "bob", "cid/x", "")
STEPS = 60


class Model:
    """What should come of it, for one key."""

    def __init__(self) -> None:
        self.fixed = 0
        self.seen: list[int] = []
        self.queue: list[tuple[int, int]] = []

    def publish(self, number: int, needs: int) -> None:
        if self.queue or needs > self.fixed:
            self.queue.append((number, needs))
        else:
            self.seen.append(number)

    def redrive(self) -> None:
        while self.queue and self.queue[0][1] <= self.fixed:
            self.seen.append(self.queue.pop(0)[0])


async def stands(live: Live, model: dict[str, Model]) -> None:
    """Hold what the app has against the model."""
    await live.settled()
    found = await live.host.site.letters(Search())
    kept = {name: [x for x in found.letters if x.envelope.key == name] for name in NAMES}
    for name, one in model.items():
        assert await live.of(Works).numbers(name) == tuple(one.seen)
        assert await live.of(Follows).numbers(name) == tuple(one.seen)
        numbers = [int(x.envelope.body[x.envelope.body.index(b"number") + 6]) for x in kept[name]]
        assert numbers == [number for number, _ in one.queue]
    assert {(p.key, p.count) for p in found.keys} == {(n, len(m.queue)) for n, m in model.items() if m.queue}


@every_preset(app, seeds=2)
async def test_each_key_keeps_its_order_through_failures_and_redrives(live: Live) -> None:
    random, model, desk = Random(live.case.seed), {name: Model() for name in NAMES}, Desk(live.host)
    for number in range(STEPS):
        name = random.choice(NAMES)
        one = model[name]
        draw = random.random()
        if draw < 0.7:
            needs = one.fixed + (random.random() < 0.25)
            await live.publish(Job(name, number, needs, declared=random.random() < 0.3))
            one.publish(number, needs)
        elif draw < 0.8:
            await live.tell("Works.fix", name, one.fixed + 1)
            one.fixed += 1
        elif draw < 0.9 and one.queue:
            await live.settled()
            done = await desk.redrive(Wish(Search(key=name)))
            before = len(one.seen)
            one.redrive()
            assert [(each.gone, each.left) for each in done] == [(len(one.seen) - before, len(one.queue))]
        elif one.queue:
            await live.settled()
            first = (await live.host.site.letters(Search(key=name, limit=1))).letters[0]
            (gone,) = await desk.redrive(Wish(Search(key=name, name=first.name), discard=True))
            one.queue.pop(0)
            assert (gone.gone, gone.left) == (1, len(one.queue))
    await stands(live, model)
    for name, one in model.items():
        one.fixed = STEPS
        await live.tell("Works.fix", name, STEPS)
        one.redrive()
    await desk.redrive(Wish(Search()))
    await stands(live, model)
    assert not any(one.queue for one in model.values())
    assert live.failures()


async def opened(folder: Path, preset: str = "modular-monolith") -> Host:
    host = build(app, preset, folder, Options(ticks=False))
    await host.start()
    return host


async def test_a_letter_tells_what_happened_and_outlives_its_host(tmp_path: Path) -> None:
    host = await opened(tmp_path)
    for number in range(3):
        await host.publish(Job("ann", number, 1))
    await host.publish(Job("bob", 9, 1, declared=True))
    await host.settled()
    assert host.site.parked == 4
    await host.close()
    host = await opened(tmp_path)
    first, second, third, fault = (await host.site.letters(Search())).letters
    assert (first.name, first.title, first.kind, first.attempts) == ("1", "Works.work", "ValueError", 3)
    assert first.reason == "ValueError: 0 needs 1"
    assert first.envelope.at <= first.first <= first.last
    assert [(x.kind, x.attempts) for x in (second, third)] == [("Parked", 0)] * 2
    assert (fault.kind, fault.attempts) == ("Unfit", 1)  # to try it again would change nothing
    found = await host.site.letters(Search(component="Works", reason="needs 1"))
    assert (len(found.letters), [p.count for p in found.keys]) == (1, [3])
    with pytest.raises(Refused, match=r"no component `Work` that takes events\. Nearest: `Works`"):
        await Desk(host).letters(Search(component="Work"))
    await host.publish(Job("ann", 4))
    await host.tell("Works.fix", ("ann", 1))
    (done,) = await Desk(host).redrive(Wish(Search(name="2")))  # a letter names its key
    assert (done.gone, done.left) == (4, 0)
    assert await host.of(Works).numbers("ann") == (0, 1, 2, 4)
    await host.close()


@pytest.mark.parametrize("preset", ["monolith", "modular-monolith"])
async def test_others_go_on_while_one_key_is_tried_again(tmp_path: Path, preset: str) -> None:
    file = tmp_path / "patient.toml"
    file.write_text(f'base = "{preset}"\n[component.Works]\nattempts = 5\n', "utf-8")
    host = await opened(tmp_path / "kept", str(file))
    failing = asyncio.create_task(host.publish(Job("ann", 0, 1)))
    await asyncio.sleep(0)
    await host.publish(Job("bob", 1))
    await host.settled()
    await failing
    (letter,) = (await host.site.letters(Search())).letters
    assert letter.attempts == 5
    assert letter.last > letter.first
    assert await host.of(Works).numbers("bob") == (1,)
    await host.close()


async def test_a_redrive_is_an_input_like_any_other(tmp_path: Path) -> None:
    host = await opened(tmp_path)
    for number in range(2):
        await host.publish(Job("ann", number, 1))
    await host.tell("Works.fix", ("ann", 1))
    await Desk(host).redrive(Wish(Search()))
    entries = [entry.envelope for entry in await host.log.read(0, 100) if entry.envelope.origin > 3]
    assert [(e.kind, e.key, e.name) for e in entries] == [
        ("Works.__redrive__", "ann", "4"),
        ("Works.work/again", "ann", "4/Works.__redrive__#000"),
        ("Works.work/again", "ann", "4/Works.__redrive__#001"),
        ("Done", "ann", "4/Works.__redrive__#000/Works.work#000"),
        ("Done", "ann", "4/Works.__redrive__#001/Works.work#000"),
    ]
    await host.close()


def test_answers_are_equal_everywhere_while_keys_are_parked_and_brought_back() -> None:
    """Every layout, disturbed and killed, against a calm monolith: parking and redrives are part of the input."""
    command = [sys.executable, "-m", "allotrope", "check", "tests.runtime.effects.ward", "--seeds", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"^0 differences in [\d,]{4,} comparisons", ended.stdout, re.MULTILINE)
