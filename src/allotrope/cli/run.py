"""`allotrope run`: an app in this process, fed from a file or a pipe, until it is told to stop."""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.lines import Feed, lines_of
from allotrope.cli.loading import AppName, Folder, TopologyName, many, planned
from allotrope.cli.stopping import INTERRUPTED, desk, keep_journal, on_signals, started
from allotrope.compose.connectors import connected
from allotrope.compose.figures import gathered, gauges
from allotrope.kernel.errors import Lost, Refused
from allotrope.planning.plans import Plan
from allotrope.runtime.doors.graces import WORK_S
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from allotrope.runtime.telemetry.journal import JsonLines, Level, Style, configure
from allotrope.runtime.telemetry.meters import Elsewhere
from allotrope.runtime.telemetry.metrics import serve

log = logging.getLogger("allotrope")
SURVIVES = {
    "none": "all is gone when it ends",
    "process": "what is answered survives kill -9",
    "power": "what is answered survives kill -9 and the loss of power",
}


@dataclass(frozen=True)
class Settings:
    """How to run it."""

    topology: TopologyName = compose.DEFAULT
    folder: Folder = compose.FOLDER
    input: Annotated[
        str,
        Parameter(
            name=["--input", "-i"], help="JSON lines to take, `-` for stdin.", allow_leading_hyphen=True
        ),
    ] = ""
    metrics: Annotated[
        int | None, Parameter(help="Port for Prometheus, on 127.0.0.1; 0 takes a free one.")
    ] = None
    log: Annotated[Style, Parameter(help="How logs are written, to stderr.")] = "text"
    log_level: Annotated[Level, Parameter(help="The least that is logged.")] = "info"


def run(app: AppName, /, *, settings: Annotated[Settings, Parameter(name="*")] = Settings()) -> int:
    """Start an app, feed it with inputs, keep it up until it is told to stop."""
    configure(settings.log, settings.log_level)
    plan = planned(app, settings.topology)
    source = _opened(settings.input)
    with asyncio.Runner(loop_factory=compose.fast_loop()) as runner:
        return runner.run(_serve(plan, settings, source))


def _opened(name: str) -> int | None:
    """Return the descriptor to read from. It is never closed: its reader may be in the middle of a line."""
    if name in ("", "-"):
        return sys.stdin.fileno() if name else None
    try:
        return os.open(name, os.O_RDONLY)
    except OSError as error:
        raise Refused(f"--input {name}: {error.strerror}") from None


async def _serve(plan: Plan, settings: Settings, source: int | None) -> int:
    host = compose.build(
        plan.app, plan, settings.folder, Options(sinks=compose.sinks(plan.app, settings.folder))
    )
    keep_journal(plan, settings.folder)
    stopping, metrics = on_signals(_say), None
    try:
        with _starting(plan):
            if not await started(host, stopping):
                return INTERRUPTED
        if settings.metrics is not None:
            metrics = serve(settings.metrics, host.services.meters, gauges(host), gathered(host))
        _say(_greeting(plan, settings, metrics.address if metrics else ""))
        begun, feed = time.monotonic(), Feed(host, sys.stdout)
        async with desk(host, settings.folder), connected(host, settings.folder):
            with _progress(feed, host, settings.input):
                await _until_the_end(host, feed, source, stopping)
        return await _wind_up(host, feed, begun, stopped=stopping.is_set())
    finally:
        if metrics is not None:
            metrics.close()
        await host.close()


async def _until_the_end(host: Host, feed: Feed, source: int | None, stopping: asyncio.Event) -> None:
    """Return when the input has ended, or was told to stop, or the host has stopped itself."""
    told = asyncio.create_task(stopping.wait())
    feeding = None if source is None else asyncio.create_task(feed.take(lines_of(source)))
    wanted = {told} if feeding is None else {told, feeding}
    while host.stopped is None:
        done, _ = await asyncio.wait(wanted, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        if done:
            break
    for task in (told, feeding):
        if task is not None and not task.done():
            task.cancel()
    if feeding is not None and feeding.done() and not feeding.cancelled():
        feeding.result()


async def _wind_up(host: Host, feed: Feed, begun: float, *, stopped: bool) -> int:
    """Drain, say what was finished, and return the exit code."""
    failure = host.stopped
    if failure is not None:
        await host.close()
        await feed.abandon()
        raise Refused(f"{host.plan.app.name} has stopped itself: {failure}") from failure
    # Before it closes: a collector of spans that is away may keep it for seconds.
    seconds = time.monotonic() - begun
    finished, calls = await _drained(host)
    await feed.abandon()
    tally = feed.tally
    words = [f"{calls:,} calls"]
    if tally.read:
        rate = f" ({tally.answered / seconds:,.0f}/s)" if tally.answered > 1 else ""
        words.insert(0, f"{tally.answered:,} lines answered in {seconds:.1f} s{rate}")
    words += [f"{tally.faults:,} with a declared fault"] if tally.faults else []
    words += [f"{tally.refused:,} refused, first line {tally.first_refused}"] if tally.refused else []
    words += [f"{host.site.parked:,} parked"] if host.site.parked else []
    left = len(host.flights.flows) + host.flights.waiting
    if not finished:
        after = "the next start takes them up" if host.durable else "they are lost: durability is none"
        words.append(f"{left:,} inputs were still at work after {WORK_S:g} s; {after}")
    _say(f"{'stopped' if stopped else 'done'}: {', '.join(words)}{'; all finished' if finished else ''}")
    return 1 if tally.refused or not finished else 0


async def _drained(host: Host) -> tuple[bool, int]:
    """Return whether all was finished, and how many calls were made: units elsewhere take their counters with them."""
    until = time.monotonic() + WORK_S
    away: Elsewhere = {}
    if host.site.engine is not None:
        with contextlib.suppress(TimeoutError, Lost):
            async with asyncio.timeout(WORK_S):
                await host.settled()
        away = await host.site.meters()
    finished = await host.drain(max(until - time.monotonic(), 1.0))
    places = (host.services.meters, *away.values())
    return finished, sum(meter.calls for meters in places for meter in meters.values() if not meter.far)


# -- what a person sees


def _say(text: str) -> None:
    """Tell a person on stderr; whoever reads JSON lines there gets no others."""
    receivers = [each for each in logging.getLogger().handlers if not isinstance(each, logging.FileHandler)]
    if any(isinstance(receiver.formatter, JsonLines) for receiver in receivers):
        log.info("%s", "; ".join(" ".join(line.split()) for line in text.strip().splitlines()))
    else:
        print(text, file=sys.stderr, flush=True)


def _greeting(plan: Plan, settings: Settings, metrics: str) -> str:
    durability = plan.topology.durability
    kept = f", in {settings.folder}"
    if durability == "none":
        kept = f"; traces and newest decisions in {settings.folder}"
    lines = [
        f"{plan.app.name} under {plan.name.removesuffix('.toml')}",
        f"  durability  {durability}: {SURVIVES[durability]}{kept}",
    ]
    source = {"": "", "-": "stdin"}.get(settings.input, settings.input)
    lines += [f"  input       {source}, one JSON object a line; answers on stdout"] if source else []
    if plan.apart:
        images = [(unit, image.replicas) for unit, image in plan.topology.unit.items()]
        counts = {unit: f"{low}" if low == high else f"{low} to {high}" for unit, (low, high) in images}
        told = ", ".join(unit if count == "1" else f"{unit} ({count})" for unit, count in counts.items())
        lines.append(f"  units       {len(counts)} beside this process: {told}")
        lines.append(f"  look at it  allotrope ps --folder {settings.folder}; also top, logs, roll, scale")
    lines += [f"  metrics     {metrics}"] if metrics else []
    lines += [f"  warning     {warning}" for warning in plan.warnings]
    lines += [] if source and source != "stdin" else ["  stop it with Ctrl-C"]
    return "\n".join(lines)


@contextlib.contextmanager
def _starting(plan: Plan) -> Iterator[None]:
    """Say that processes are being started, where stderr is a terminal."""
    if not (plan.apart and sys.stderr.isatty()):
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"starting {many(len(plan.units), 'unit')}"):
        yield


@contextlib.contextmanager
def _progress(feed: Feed, host: Host, source: str) -> Iterator[None]:
    """Show how far it is, where stderr is a terminal and nobody types the input there."""
    if not source or not sys.stderr.isatty() or (source == "-" and sys.stdin.isatty()):
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns: tuple[Any, ...] = (SpinnerColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        shown = progress.add_task("", told="")
        beat = asyncio.get_running_loop().create_task(
            _beat(lambda told: progress.update(shown, told=told), feed, host)
        )
        try:
            yield
        finally:
            beat.cancel()


async def _beat(show: Any, feed: Feed, host: Host) -> None:
    before, at = 0, time.monotonic()
    while True:
        await asyncio.sleep(0.25)
        answered, now = feed.tally.answered, time.monotonic()
        rate = (answered - before) / (now - at)
        before, at = answered, now
        refused = f", {feed.tally.refused:,} refused" if feed.tally.refused else ""
        show(f"{answered:,} answered{refused}, {rate:,.0f}/s, {len(host.flights.flows):,} in flight")
