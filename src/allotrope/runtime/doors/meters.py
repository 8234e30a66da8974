"""Counters of each operation: calls, errors by kind, how many run, and a histogram of times. Plain integers."""

from typing import Any

BUCKETS = 42  # bucket n holds times below 2**n microseconds: the last one ends after a month


class Meter:
    """What one operation has done since the start."""

    __slots__ = ("buckets", "errors", "seconds", "started", "title")

    def __init__(self, title: str) -> None:
        """Start at zero."""
        self.title = title
        self.started = 0
        self.seconds = 0.0
        self.errors: dict[str, int] = {}
        self.buckets = [0] * BUCKETS

    @property
    def calls(self) -> int:
        """Return how many calls have finished."""
        return sum(self.buckets)

    @property
    def running(self) -> int:
        """Return how many calls are in progress."""
        return self.started - sum(self.buckets)

    def count(self, seconds: float) -> None:
        """Count one finished call."""
        self.seconds += seconds
        self.buckets[int(seconds * 1e6).bit_length()] += 1

    def fail(self, error: BaseException) -> None:
        """Count one error by its class."""
        name = type(error).__name__
        self.errors[name] = self.errors.get(name, 0) + 1


def exposed(meters: dict[str, Meter]) -> Any:
    """Return a Prometheus collector over the meters; the library is loaded only now."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    class Collector:
        def collect(self) -> Any:
            calls = CounterMetricFamily("allotrope_calls", "Finished calls", labels=("operation",))
            errors = CounterMetricFamily("allotrope_errors", "Errors", labels=("operation", "error"))
            running = GaugeMetricFamily("allotrope_running", "Calls in progress", labels=("operation",))
            times = HistogramMetricFamily("allotrope_seconds", "Time of a call", labels=("operation",))
            for title, meter in sorted(meters.items()):
                calls.add_metric((title,), meter.calls)
                running.add_metric((title,), meter.running)
                for name, count in sorted(meter.errors.items()):
                    errors.add_metric((title, name), count)
                edges, total = [], 0
                for index, count in enumerate(meter.buckets):
                    total += count
                    edges.append((repr(float(1 << index) / 1e6), total))
                times.add_metric((title,), [*edges, ("+Inf", total)], meter.seconds)
            return [calls, errors, running, times]

    return Collector()
