"""The fraud example, day after day: as plain functions, in the monolith, in the modular monolith. Equal answers.

Each round is one day that no arm has seen yet: first its labels, then its payments. Inputs are made beforehand.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from pathlib import Path
from time import process_time

import msgspec

from allotrope import compose
from allotrope.runtime.host import Host
from allotrope.runtime.options import Input, Options
from benchmarks import plain
from examples.fraud import app
from examples.fraud.decisions import Decision, Decisions
from examples.fraud.desk import Desk
from examples.fraud.events import Booked, Labelled, Promoted, Submitted
from examples.fraud.lab.dataset import Transactions
from examples.fraud.lab.generator import Population, simulate
from examples.fraud.lab.stream import Arrival, Schedule, history, streamed
from examples.fraud.lab.training import trained
from examples.fraud.learning import Forest
from examples.fraud.models import MODEL, keep

PRESETS = ("monolith", "modular-monolith")
POPULATION = Population(customers=1_000, terminals=2_000, days=63)
Round = tuple[list[Arrival], list[Arrival]]  # a day's labels and its payments
Send = Callable[[Iterable[Arrival]], Awaitable[None]]


class Arms:
    """The program and the app in its presets, all with the same past; one day at a time goes into each."""

    def __init__(self, folder: Path, rounds: int) -> None:
        """Simulate the payments and train the model; nothing is fed yet."""
        data = simulate(POPULATION)
        last = POPULATION.start + timedelta(days=POPULATION.days - 1)
        self.schedule = Schedule(last - timedelta(days=rounds - 1), last)
        model = trained(data, *self.schedule.training)
        self.promoted = Promoted(MODEL, *keep(model, folder / "models"))
        self.bank = plain.Bank(Forest(model).single, self.promoted.version)
        self.hosts = {preset: opened(preset, folder) for preset in PRESETS}
        self.days = [_day(data, self.schedule, turn) for turn in range(rounds)]
        self.past = list(history(data, self.schedule))

    async def start(self) -> None:
        """Feed the past to every arm."""
        feed(self.bank, translated(self.past))
        for host in self.hosts.values():
            await host.start()
            await host.publish(self.promoted, Input(at=self.past[0].at))
            await sent(host, self.past)

    async def close(self) -> None:
        """Close the hosts."""
        for host in self.hosts.values():
            await host.close()


def opened(preset: str, folder: Path) -> Host:
    """Return the app under a preset, its state and models in `folder`; not started."""
    file = folder / f"{preset}.toml"
    file.write_text(f'base = "{preset}"\n\n[setting]\n"Models.folder" = "{folder / "models"}"\n', "utf-8")
    return compose.build(app, str(file), folder / preset, Options(ticks=False))


def _day(data: Transactions, schedule: Schedule, turn: int) -> Round:
    arrivals = list(streamed(data, schedule.days()[turn]))
    labels = [arrival for arrival in arrivals if isinstance(arrival.event, Labelled)]
    return labels, [arrival for arrival in arrivals if isinstance(arrival.event, Submitted)]


async def sent(host: Host, arrivals: Iterable[Arrival]) -> None:
    """Publish in order and return when all effects are committed."""
    for arrival in arrivals:
        if arrival.event is not None:
            await host.publish(arrival.event, Input(at=arrival.at))
    await host.settled()


Fact = plain.Submitted | Labelled | Booked


def translated(arrivals: Iterable[Arrival]) -> list[Fact]:
    """Return the same inputs as the plain program takes them."""
    facts: list[Fact] = []
    for arrival in arrivals:
        event = arrival.event
        if isinstance(event, Submitted):
            facts.append(plain.Submitted(*msgspec.structs.astuple(event)))
        elif isinstance(event, Labelled | Booked):
            facts.append(event)
    return facts


def feed(bank: plain.Bank, facts: Iterable[Fact]) -> None:
    """Give the plain program what the hosts are given as events."""
    for fact in facts:
        if isinstance(fact, plain.Submitted):
            bank.submit(fact)
        elif isinstance(fact, Labelled):
            bank.label(fact.id, fact.terminal, fact.fraud, fact.at)
        else:
            bank.book(plain.Submitted(*msgspec.structs.astuple(fact)))


Samples = dict[str, dict[str, tuple[float, ...]]]  # what was fed -> arm -> microseconds of CPU for each


async def measured(rounds: int) -> tuple[Samples, int]:
    """Return CPU per payment, per label and per input, by arm and round, and how many answers were equal."""
    with tempfile.TemporaryDirectory() as folder:
        arms = Arms(Path(folder), rounds)
        try:
            await arms.start()
            gc.collect()
            gc.freeze()  # what the other arms hold is not for this one's collector to look at
            found: dict[str, dict[str, list[float]]] = {"payment": {}, "label": {}, "input": {}}
            for turn, (labels, payments) in enumerate(arms.days):
                names = ["plain", *PRESETS]
                for name in names[turn % 3 :] + names[: turn % 3]:
                    times = await _timed(arms, name, labels, payments)
                    for what, time in zip(("payment", "label", "input"), times, strict=True):
                        found[what].setdefault(name, []).append(time)
            equal = await compared(arms)
        finally:
            gc.unfreeze()
            await arms.close()
    return {what: {arm: tuple(times) for arm, times in by.items()} for what, by in found.items()}, equal


async def _timed(arms: Arms, name: str, labels: list[Arrival], payments: list[Arrival]) -> tuple[float, ...]:
    """Return microseconds of CPU per payment, per label, and per input of the day."""
    if name == "plain":
        known, asked = translated(labels), translated(payments)
        start = process_time()
        feed(arms.bank, known)
        middle = process_time()
        feed(arms.bank, asked)
    else:
        start = process_time()
        await sent(arms.hosts[name], labels)
        middle = process_time()
        await sent(arms.hosts[name], payments)
    end = process_time()
    parts = (end - middle) / len(payments), (middle - start) / len(labels)
    return *(1e6 * part for part in parts), 1e6 * (end - start) / (len(labels) + len(payments))


async def compared(arms: Arms) -> int:
    """Return how many decisions and cases were equal in every arm. Raises AssertionError at the first that is not."""
    bank, equal = arms.bank, 0
    for preset, host in arms.hosts.items():
        decisions, desk = host.of(Decisions), host.of(Desk)
        for payment_id, expected in bank.decisions.items():
            found = await decisions.of(payment_id)
            assert found == Decision(*msgspec.structs.astuple(expected)), f"{preset}: {found} != {expected}"
            equal += 1
        waiting = {case.id: case for case in await desk.waiting(len(bank.cases) + 1)}
        assert waiting.keys() == bank.cases.keys(), f"{preset}: the desk holds other cases"
        equal += len(waiting)
        for chosen, count in bank.totals.items():
            assert await decisions.total(chosen) == count, f"{preset}: total of {chosen}"  # type: ignore[arg-type]  # a Literal by its place
    return equal
