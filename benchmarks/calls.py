"""`make bench-calls`: a proxied call over a plain await, and the fraud app over the same logic in plain code.

Every figure is the median of interleaved rounds, in CPU time of this process.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import uvloop

from allotrope import App, component, compose, query
from allotrope.runtime.options import Options
from allotrope.runtime.tracing import Tracer
from benchmarks import footprint, payments
from benchmarks.forms import ASKED, Features, Score
from benchmarks.rounds import Row, Work, measured, show

ROUNDS = 9
BURST, BURSTS = 100, 300  # calls within one request, and requests a round


ANSWER = Score(0.5, "v1")


@component
class Model:
    """Answers at once, so that the way is all there is to measure."""

    @query
    async def predict(self, features: Features) -> Score:
        """Return a score."""
        return ANSWER


@component
class Edge:
    """Calls the model many times, within the deadline of one request."""

    model: Model

    @query(deadline_s=60.0)
    async def burst(self, features: Features) -> int:
        """Call the model, and return how often."""
        for _ in range(BURST):
            await self.model.predict(features)
        return BURST


app = App("calls", Model, Edge)


def _asking(edge: Edge) -> Work:
    async def work(turn: int) -> int:
        return sum([await edge.burst(ASKED) for _ in range(BURSTS)])

    return work


async def calls(rounds: int) -> list[Row]:
    """Return the rows on one call: a plain await, and the same through a proxy."""
    hosts = {
        "proxied call": compose.build(app, "monolith"),
        "  its trace sampled": compose.build(app, "monolith", None, Options(tracer=Tracer(per_second=1e12))),
        "  through the codec, twice (loopback)": compose.build(app, "loopback"),
    }
    arms = {"plain await": _asking(Edge(model=Model()))} | {
        name: _asking(host.of(Edge)) for name, host in hosts.items()
    }
    await measured(arms, 1)  # the sampler's first burst and the interpreter's own warming up
    found = await measured(arms, rounds)
    for host in hosts.values():
        await host.close()
    plain = found.pop("plain await")
    rows = [Row("plain await", "us", plain)]
    for name, samples in found.items():
        limit = 1.5 if name == "proxied call" else None
        rows.append(Row(name, "us", samples, plain, limit, "over"))
    return rows


async def fraud(rounds: int) -> tuple[list[Row], int]:
    """Return the rows on the fraud app, and how many of its answers were compared."""
    found, equal = await payments.measured(rounds)
    rows = []
    for what, arms in found.items():
        plain = arms["plain"]
        rows.append(Row(f"a {what}, plain functions".replace("a i", "an i"), "us", plain))
        for preset in payments.PRESETS:
            limit = 1.3 if preset == "monolith" and what != "label" else None
            rows.append(Row(f"  {preset}", "us", arms[preset], plain, limit, "ratio"))
    return rows, equal


def still(times: int) -> list[Row]:
    """Return the rows on what is there before any work."""
    with tempfile.TemporaryDirectory() as folder:
        idle = footprint.idle_mb(3, Path(folder))
    rows = [Row("import allotrope", "CPU-s", footprint.import_s(times), limit=0.25)]
    rows += [Row("fraud app in modular-monolith, idle", "MiB", idle, limit=150.0)] if idle else []
    return [*rows, Row("kernel", "lines", (float(footprint.kernel_lines()),), limit=1200.0)]


async def main() -> None:
    """Measure and print."""
    show(
        "A call: 12 floats and an id in, a float and a text out; deadline, trace and counters on",
        await calls(ROUNDS),
    )
    rows, equal = await fraud(ROUNDS)
    show(
        "The fraud app, one day of new payments a round",
        rows,
        [f"{equal:,} decisions and cases were equal in all arms"],
    )
    show("Before any work", still(7))


if __name__ == "__main__":
    uvloop.run(main())
