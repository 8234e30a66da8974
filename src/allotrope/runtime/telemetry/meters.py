"""Counters of each operation: calls, errors by kind, how many run, and a histogram of times. Plain integers."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

BUCKETS = 42  # bucket n holds times below 2**n microseconds: the last one ends after a month


class Meter(msgspec.Struct, array_like=True, eq=False):
    """What one operation has done since the start."""

    title: str
    started: int = 0
    seconds: float = 0.0
    errors: dict[str, int] = {}
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)
    fallbacks: int = 0  # answers that another operation gave in its place
    shut: int = 0  # how often its breaker has shut

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


Meters = Mapping[str, Meter]  # by operation
Elsewhere = Mapping[tuple[str, str], Meters]  # by unit and replica


def exposed(meters: Meters, elsewhere: Callable[[], Elsewhere] | None = None) -> Any:
    """Return a Prometheus collector over the meters; the library is loaded only now.

    With those of units elsewhere each figure says of which unit and replica it is; the host's own are of unit "host".
    """
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    class Collector:
        def collect(self) -> Any:
            labels = ("operation",) if elsewhere is None else ("unit", "replica", "operation")
            calls = CounterMetricFamily("allotrope_calls", "Finished calls", labels=labels)
            errors = CounterMetricFamily("allotrope_errors", "Errors", labels=(*labels, "error"))
            running = GaugeMetricFamily("allotrope_running", "Calls in progress", labels=labels)
            times = HistogramMetricFamily("allotrope_seconds", "Time of a call", labels=labels)
            fallbacks = CounterMetricFamily("allotrope_fallbacks", "Answers of a fallback", labels=labels)
            shut = CounterMetricFamily("allotrope_breaker_shut", "Times that a breaker shut", labels=labels)
            for place, meter in _placed(meters, elsewhere):
                calls.add_metric(place, meter.calls)
                running.add_metric(place, meter.running)
                for name, count in sorted(meter.errors.items()):
                    errors.add_metric((*place, name), count)
                times.add_metric(place, _edges(meter), meter.seconds)
                if meter.fallbacks:
                    fallbacks.add_metric(place, meter.fallbacks)
                if meter.shut:
                    shut.add_metric(place, meter.shut)
            return [calls, errors, running, times, fallbacks, shut]

    return Collector()


def _placed(
    meters: Meters, elsewhere: Callable[[], Elsewhere] | None
) -> Iterator[tuple[tuple[str, ...], Meter]]:
    if elsewhere is None:
        yield from (((title,), meter) for title, meter in sorted(meters.items()))
        return
    for (unit, replica), found in sorted({("host", ""): meters, **elsewhere()}.items()):
        yield from (((unit, replica, title), meter) for title, meter in sorted(found.items()))


def _edges(meter: Meter) -> list[tuple[str, int]]:
    edges, total = [], 0
    for index, count in enumerate(meter.buckets):
        total += count
        edges.append((repr(float(1 << index) / 1e6), total))
    return [*edges, ("+Inf", total)]
