"""`allotrope run`: an app in this process, fed from a file or a pipe, until it is told to stop."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from allotrope import compose
from allotrope.cli.lines import Feed, lines_of
from allotrope.cli.loading import AppName, Folder, TopologyName, planned
from allotrope.kernel.errors import Refused
from allotrope.planning.plans import Plan
from allotrope.runtime.host import Host
from allotrope.runtime.options import Options
from allotrope.runtime.telemetry.journal import Level, Style, configure
from allotrope.runtime.telemetry.metrics import Gauges, serve

GRACE_S = 10.0
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
    with asyncio.Runner(loop_factory=_loop()) as runner:
        return runner.run(_serve(plan, settings, source))


def _loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on this platform
        return None
    return uvloop.new_event_loop


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
    stopping, metrics = _on_signals(), None
    try:
        await host.start()
        if settings.metrics is not None:
            metrics = serve(settings.metrics, host.services.meters, gauges(host))
        _say(_greeting(plan, settings, metrics.address if metrics else ""))
        begun, feed = time.monotonic(), Feed(host, sys.stdout)
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


def _on_signals() -> asyncio.Event:
    """Return an event that the first signal sets; the second ends the process as it is."""
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            _say("stopped at once")
            os._exit(130)
        stopping.set()
        _say("\nstopping: finishing what has begun; Ctrl-C again stops at once")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    return stopping


async def _wind_up(host: Host, feed: Feed, begun: float, *, stopped: bool) -> int:
    """Drain, say what was finished, and return the exit code."""
    failure = host.stopped
    if failure is not None:
        await host.close()
        await feed.abandon()
        raise Refused(f"{host.plan.app.name} has stopped itself: {failure}") from failure
    finished = await host.drain(GRACE_S)
    await feed.abandon()
    tally, seconds = feed.tally, time.monotonic() - begun
    inputs = sum(meter.calls for meter in host.services.meters.values())
    words = [f"{inputs:,} calls"]
    if tally.read:
        rate = f" ({tally.answered / seconds:,.0f}/s)" if tally.answered > 1 else ""
        words.insert(0, f"{tally.answered:,} lines answered in {seconds:.1f} s{rate}")
    words += [f"{tally.faults:,} with a declared fault"] if tally.faults else []
    words += [f"{tally.refused:,} refused, first line {tally.first_refused}"] if tally.refused else []
    words += [f"{host.effects.parked:,} parked"] if host.effects.parked else []
    left = len(host.flights.flows)
    if not finished:
        after = "the next start takes them up" if host.durable else "they are lost: durability is none"
        words.append(f"{left:,} inputs were still at work after {GRACE_S:g} s; {after}")
    _say(f"{'stopped' if stopped else 'done'}: {', '.join(words)}{'; all finished' if finished else ''}")
    return 1 if tally.refused or not finished else 0


# -- what a person sees


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _greeting(plan: Plan, settings: Settings, metrics: str) -> str:
    durability = plan.topology.durability
    kept = f", in {settings.folder}" if durability != "none" else f"; traces in {settings.folder}"
    lines = [
        f"{plan.app.name} under {plan.name.removesuffix('.toml')}",
        f"  durability  {durability}: {SURVIVES[durability]}{kept}",
    ]
    source = {"": "", "-": "stdin"}.get(settings.input, settings.input)
    lines += [f"  input       {source}, one JSON object a line; answers on stdout"] if source else []
    lines += [f"  metrics     {metrics}"] if metrics else []
    lines += [f"  warning     {warning}" for warning in plan.warnings]
    lines += [] if source and source != "stdin" else ["  stop it with Ctrl-C"]
    return "\n".join(lines)


def gauges(host: Host) -> Gauges:
    """Return what a host shows beside its counters."""
    return {
        "flows": ("Inputs in flight", lambda: len(host.flights.flows)),
        "floor_origin": ("Lowest origin that may be unfinished", host.flights.floor),
        "newest_origin": ("Origin of the newest input", lambda: host.flights.newest),
        "parked": ("Events parked since the start", lambda: host.effects.parked),
        "spans_dropped": ("Spans lost since the start", lambda: host.services.tracer.dropped),
        "stopped": ("1 when nothing is taken any more", lambda: host.stopped is not None),
    }


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
