"""The demonstration, step by step: data, training, serving, then the same day under every preset."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from allotrope import compose
from allotrope.runtime.host import Host
from allotrope.runtime.telemetry.metrics import serve
from examples.fraud.decisions import Decision
from examples.fraud.desk import Desk
from examples.fraud.events import Submitted
from examples.fraud.lab import dataset
from examples.fraud.lab.dataset import DataRefused, Transactions
from examples.fraud.lab.generator import LABEL_DELAY_DAYS, Population, simulate
from examples.fraud.lab.quality import quality, verdicts
from examples.fraud.lab.screen import Phase, Screen
from examples.fraud.lab.serving import (
    IN_FLIGHT,
    Tally,
    cpu_s,
    decided,
    emptied,
    memory_mb,
    opened,
    promote,
    send,
    send_first,
    topology,
)
from examples.fraud.lab.stream import LEAD_DAYS, Schedule, history, ids, streamed
from examples.fraud.lab.training import trained
from examples.fraud.lab.trial import SLICE, Figures, Setting, answers_of, apart, figures, measured
from examples.fraud.models import keep

SURVIVES = {"none": "survives nothing", "process": "survives kill -9", "power": "survives a power cut"}
COMPARING_S = 60.0  # all other presets together
FIRST, LAST = "monolith", "loopback"  # which is for checks only: it is left out when time is short


@dataclass(frozen=True, slots=True)
class Options:
    """What to show; `data` takes the place of the simulation."""

    data: Path | None = None
    folder: Path = compose.FOLDER / "fraud"
    keep: bool = False
    customers: int = 2_000
    days: int = 7
    seed: int = 0
    metrics: int | None = None


class Show:
    """One run of the demonstration."""

    def __init__(self, options: Options) -> None:
        """Show what `options` say."""
        self.options, self.screen = options, Screen()
        self.alone, self.beside = Tally(), Tally()
        self.decisions: dict[str, Decision] = {}

    async def run(self) -> int:
        """Run it all and return the exit code, 1 when a preset answers otherwise than the default."""
        options, screen = self.options, self.screen
        screen.title(f"Card fraud under {compose.DEFAULT}, from data to decisions")
        emptied(options.folder, keep=options.keep, say=lambda text: screen.line("folder", text))
        file = topology(compose.DEFAULT, options.folder, self._models)  # now the folder is known as ours
        payments, schedule = self._payments()
        model = await self._model(payments, schedule)
        host = opened(file)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(host.drain)
            await host.start()
            if options.metrics is not None:
                metrics = serve(options.metrics, host.services.meters, {})
                stack.callback(metrics.close)
                screen.line("metrics", metrics.address)
            setting = Setting(payments, schedule, model, self._models)
            first = await self._serve(host, setting)
            await self._summary(host, setting)
            differing = await self._compare(first, setting)
            self._outlook()
            if screen.watched:
                screen.title("The app is up; Ctrl-C stops it.")
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                screen.title("stopped")
        return 1 if differing else 0

    @property
    def _models(self) -> Path:
        return self.options.folder / "models"

    # -- data and model

    def _payments(self) -> tuple[Transactions, Schedule]:
        options = self.options
        with self.screen.phase("data", "payments") as phase:
            if options.data is None:
                payments, schedule = self._simulated()
                source = f"{options.customers:,} customers and {2 * options.customers:,} terminals simulated"
            else:
                payments, schedule = _read(options.data, options.days)
                source = str(options.data)
            _examine(payments.between(schedule.live, schedule.last), "decisions")
            phase.result = (
                f"{source}: {len(payments):,} payments, {int(payments.fraud.sum()):,} of them frauds"
            )
        return payments, schedule

    def _simulated(self) -> tuple[Transactions, Schedule]:
        customers, days = self.options.customers, self.options.days
        population = Population(customers, 2 * customers, LEAD_DAYS + days, seed=self.options.seed)
        return simulate(population), Schedule.after(population.start, days)

    async def _model(self, payments: Transactions, schedule: Schedule) -> tuple[str, str]:
        first, last = schedule.training
        with self.screen.phase("training", f"on {first} to {last}") as phase:
            known = payments.between(schedule.first, last)
            _examine(known.between(first, last), "training")
            model = keep(await apart(trained, known, first, last), self._models)
            rows = len(known.between(first, last))
            phase.result = f"{model[0]} from {rows:,} payments of {first} to {last}, through the app's views"
        return model

    # -- serving

    async def _serve(self, host: Host, setting: Setting) -> Figures:
        """Feed history and all days; return the figures of the first day, which the other presets repeat."""
        payments, schedule = setting.payments, setting.schedule
        arrivals = list(history(payments, schedule))
        with self.screen.phase("history", "payments and labels", len(arrivals)) as phase:
            await send(host, iter(arrivals), Tally(), phase.watch, IN_FLIGHT)
            first, last = schedule.history
            phase.result = f"{len(arrivals):,} payments and labels of {first} to {last}"
        with self.screen.phase("serving", "payments and labels", _inputs(payments, schedule)) as phase:
            figures = await self._first_day(host, setting, phase)
            for today in schedule.days()[1:]:
                await send(host, streamed(payments, today), self.beside, phase.watch, IN_FLIGHT)
                await self._look_up(host)
            phase.result = (
                f"{len(self.decisions):,} payments of {schedule.live} to {schedule.last}, labels beside them"
            )
        return figures

    async def _first_day(self, host: Host, setting: Setting, phase: Phase) -> Figures:
        arrivals = list(streamed(setting.payments, setting.schedule.live))
        await promote(host, setting.model, arrivals[0])
        self.alone, self.beside = await send_first(host, arrivals, phase.watch)
        await self._look_up(host)
        durability = host.plan.topology.durability
        events = [arrival.event for arrival in arrivals[:SLICE]]
        first = {event.id: self.decisions[event.id] for event in events if isinstance(event, Submitted)}
        return measured(compose.DEFAULT, durability, (self.alone, self.beside), answers_of(first))

    async def _look_up(self, host: Host) -> None:
        """Ask what was decided on the payments of today: before a day is over no case is overdue."""
        origins = {**self.alone.origins, **self.beside.origins}
        self.decisions |= await decided(host, [key for key in origins if key not in self.decisions])

    async def _summary(self, host: Host, setting: Setting) -> None:
        screen, schedule = self.screen, setting.schedule
        screen.title(f"Decisions of {schedule.live} to {schedule.last}")
        live = setting.payments.between(schedule.live, schedule.last)
        found = [self.decisions[key] for key in ids(live)]
        screen.verdicts(verdicts(found, live.fraud))
        screen.line("quality", quality(setting.payments, schedule, self.decisions))
        alone, beside = self.alone, self.beside
        screen.line("speed", f"{beside.rate:,.0f} decisions per second, {IN_FLIGHT} in flight")
        single, many = (
            f"p50 {t.quantile_ms(0.5):.2f} ms, p99 {t.quantile_ms(0.99):.2f} ms" for t in (alone, beside)
        )
        screen.line(
            "latency", f"alone {single}; {IN_FLIGHT} in flight {many}; from publishing to the last commit"
        )
        seconds = cpu_s()
        screen.line(
            "cost", f"{beside.cpu_us:.0f} µs of CPU each; {seconds:.1f} CPU-s and {memory_mb():.0f} MB so far"
        )
        durability = host.plan.topology.durability
        screen.line("durability", f"{durability}: {SURVIVES[durability]}; kept in {self.options.folder}")
        if host.site.parked:
            screen.line("parked", f"{host.site.parked:,} events that no handler could take")
        screen.cases(await host.of(Desk).waiting(1_000_000))

    # -- the other presets

    async def _compare(self, reference: Figures, setting: Setting) -> int:
        """Let every other preset serve the first day, show the costs, and return how many answers differ."""
        screen = self.screen
        count = len(reference.answers)
        screen.title(f"The first {count:,} payments of {setting.schedule.live} under the other presets")
        rows, left_out = [reference], []
        end = time.perf_counter() + COMPARING_S
        others = {preset for preset in compose.presets() if preset not in (compose.DEFAULT, FIRST, LAST)}
        for preset in (FIRST, *sorted(others), LAST):
            with screen.phase("preset", preset) as phase:
                try:
                    async with asyncio.timeout(end - time.perf_counter()):
                        rows.append(await apart(figures, preset, setting))
                    phase.result = f"{preset}, apart from this process"
                except TimeoutError:
                    left_out.append(preset)
                    phase.result = f"{preset}: left out, all presets together have {COMPARING_S:.0f} s"
        differing = screen.presets(rows)
        verdict = f"{differing:,} differ" if differing else "all equal, bit for bit"
        screen.line("answers", f"{verdict}; not compared: {', '.join(left_out)}" if left_out else verdict)
        return differing

    def _outlook(self) -> None:
        """Show what to try next, on a payment of this run."""
        origins = {**self.alone.origins, **self.beside.origins}
        traced = {*self.alone.traced, *self.beside.traced}
        # Best a payment with a trace, and of these the surest fraud.
        chosen = max(self.decisions, key=lambda key: (key in traced, self.decisions[key].probability, key))
        origin, folder = origins[chosen], self.options.folder
        beside = Path(sys.executable).with_name("allotrope")  # of the environment that runs this
        inside = beside.is_file() and beside.is_relative_to(Path.cwd())
        tool = str(beside.relative_to(Path.cwd())) if inside else "allotrope"
        self.screen.title(f"Look next, for instance at payment {chosen}, which was input {origin}")
        self.screen.commands(
            [
                ("what happened to it, with times", f"{tool} trace {origin} --folder {folder}"),
                (
                    "its decisions once more, from their records",
                    f"{tool} replay {origin} examples.fraud --folder {folder}",
                ),
                ("all that came of it", f"{tool} impact {origin} --folder {folder}"),
                (
                    "every preset, with delays, repeats and kills: are the answers equal?",
                    f"{tool} check examples.fraud",
                ),
                ("what runs where", f"{tool} plan examples.fraud"),
            ]
        )


def _read(folder: Path, days: int) -> tuple[Transactions, Schedule]:
    """Return the last days of a data set, with all that decisions on the last `days` of them need."""
    first, last = dataset.span(folder)
    schedule = Schedule(last - timedelta(days=days - 1), last)
    if schedule.first < first:
        raise DataRefused(
            f"{folder}: holds payments from {first} to {last}; to decide on {days} days, those from "
            f"{schedule.first} on are needed too. Add them, or lower --days"
        )
    return dataset.read(folder, schedule.first, last), schedule


def _examine(payments: Transactions, use: str) -> None:
    """Raise DataRefused when the days of one use lack frauds or honest payments."""
    frauds = int(payments.fraud.sum())
    if frauds in (0, len(payments)):
        raise DataRefused(
            f"{frauds} frauds among {len(payments)} payments on the days of {use}; both kinds are needed. "
            "Simulate more --customers, take more --days or another --seed, or name other --data"
        )


def _inputs(payments: Transactions, schedule: Schedule) -> int:
    """Return how many inputs the days of decisions have: payments, labels and hours."""
    week = timedelta(days=LABEL_DELAY_DAYS)
    labels = payments.between(schedule.live - week, schedule.last - week)
    return len(payments.between(schedule.live, schedule.last)) + len(labels) + 24 * len(schedule.days())
