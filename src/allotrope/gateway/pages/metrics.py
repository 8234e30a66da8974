"""What the gateway counts, in the text that Prometheus reads, beside what the runtime counts."""

from collections.abc import Callable, Mapping
from typing import Any

from allotrope.runtime.telemetry.meters import Meter


class Counters:
    """Answers by what was asked and how it ended, and the time of requests. A collector of Prometheus."""

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        """Show `gauges` as well: name -> what it says, how to read it."""
        self.gauges = gauges
        self.meter = Meter("gateway")
        self.answers: dict[tuple[str, int], int] = {}

    def count(self, title: str, status: int, seconds: float) -> None:
        """Count one request."""
        self.meter.count(seconds)
        self.answers[title, status] = self.answers.get((title, status), 0) + 1

    def collect(self) -> Any:
        """Return the families of figures."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        answers = CounterMetricFamily("allotrope_gateway_answers", "Answers", labels=("asked", "status"))
        for (title, status), count in sorted(self.answers.items()):
            answers.add_metric((title, str(status)), count)
        times, edges, total = HistogramMetricFamily("allotrope_gateway_seconds", "Time of a request"), [], 0
        for index, count in enumerate(self.meter.buckets):
            total += count
            edges.append((repr(float(1 << index) / 1e6), total))
        times.add_metric((), [*edges, ("+Inf", total)], self.meter.seconds)
        shown = [
            GaugeMetricFamily(f"allotrope_gateway_{name}", says, read())
            for name, (says, read) in self.gauges.items()
        ]
        return [answers, times, *shown]


def exposition(collectors: tuple[Any, ...]) -> Callable[[], bytes]:
    """Return a function that writes the page; the library is loaded when somebody asks for it."""
    registries: list[Any] = []

    def page() -> bytes:
        from prometheus_client import CollectorRegistry, generate_latest

        if not registries:
            registries.append(CollectorRegistry())
            for collector in collectors:
                registries[0].register(collector)
        written: bytes = generate_latest(registries[0])
        return written

    return page
