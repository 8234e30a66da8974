"""A day of payments under one preset, in processes of its own: memory and CPU are of that preset alone."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from allotrope import Failed, Refused
from examples.fraud.lab.dataset import Transactions
from examples.fraud.lab.serving import (
    IN_FLIGHT,
    Tally,
    decided,
    memory_mb,
    opened,
    promote,
    send,
    send_first,
    topology,
)
from examples.fraud.lab.stream import Schedule, history, streamed

SLICE = 2_000  # inputs of the first day that each preset is given
R = TypeVar("R")
Answer = tuple[str, float, str]  # verdict, probability, version of the model


@dataclass(frozen=True, slots=True)
class Figures:
    """How a preset did: the answer per payment, and the costs; latencies of payments sent one at a time."""

    preset: str
    durability: str
    answers: dict[str, Answer]
    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Setting:
    """What every preset is given: the payments, the days, and the model by version, digest and folder."""

    payments: Transactions
    schedule: Schedule
    model: tuple[str, str]
    models: Path


def figures(preset: str, setting: Setting) -> Figures:
    """Return how a preset does on the first inputs of a schedule, after it has seen the history."""
    with tempfile.TemporaryDirectory(prefix="allotrope-") as folder:
        return asyncio.run(_figures(preset, setting, Path(folder)))


async def _figures(preset: str, setting: Setting, folder: Path) -> Figures:
    host = opened(topology(preset, folder, setting.models))
    await host.start()
    try:
        await send(host, history(setting.payments, setting.schedule), Tally(), _unseen, IN_FLIGHT)
        arrivals = list(islice(streamed(setting.payments, setting.schedule.live), SLICE))
        await promote(host, setting.model, arrivals[0])
        alone, beside = await send_first(host, arrivals, _unseen)
        answers = await decided(host, [*alone.origins, *beside.origins])
        return measured(preset, host.plan.topology.durability, (alone, beside), answers_of(answers))
    finally:
        await host.close()


def answers_of(decisions: dict[str, Any]) -> dict[str, Answer]:
    """Return what has to be equal under every preset."""
    return {key: (one.verdict, one.probability, one.version) for key, one in decisions.items()}


def measured(
    preset: str, durability: str, tallies: tuple[Tally, Tally], answers: dict[str, Answer]
) -> Figures:
    """Return the figures of a day that this process and its units have just served; they still run."""
    alone, beside = tallies
    return Figures(
        preset, durability, answers, beside.rate, alone.quantile_ms(0.5), alone.quantile_ms(0.99),
        beside.cpu_us, memory_mb(),
    )  # fmt: skip


def _unseen(_count: int) -> None:
    """Watch nothing: this process has no screen."""


async def apart(function: Callable[..., R], *arguments: Any) -> R:
    """Return what a function of a module returns in a fresh process, which ends when we are cancelled.

    Raises Refused with what it has raised, Failed when its process died.
    """
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, function, arguments))
    # Who starts it ends it, not Ctrl-C, which reaches the whole group. A child that dies of it before it has read
    # its arguments would even keep `start` waiting for ever. The tracker, at its own start, would let Ctrl-C through.
    resource_tracker.ensure_running()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    there.close()
    try:
        sound, result = await asyncio.to_thread(here.recv)
    except EOFError:
        raise Failed("lab", function.__name__, f"its process ended with {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
        here.close()
    if sound:
        answer: R = result
        return answer
    raise Refused(result)


def _answer(there: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        there.send((True, function(*arguments)))
    except Exception as error:
        there.send((False, f"{type(error).__name__}: {error}"))
