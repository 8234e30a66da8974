"""Counters of each operation: calls, errors by kind, how many run, and a histogram of times. Plain integers."""

import time
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
    far: bool = False  # its calls go to another unit, which counts them as well
    waiting: list[
        float
    ] = []  # seconds since 1970 at which those came that wait for a place, or for their callee

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
Elsewhere = Mapping[tuple[str, str, str], Meters]  # by unit, replica and its release


def exposed(meters: Meters, elsewhere: Callable[[], Elsewhere] | None = None, place: str = "host") -> Any:
    """Return a Prometheus collector over the meters; the library is loaded only now.

    Each call is counted once, where its body runs; what is asked of another unit also by who asks, in families of their
    own. With units elsewhere each figure says of which unit, replica and release it is; `place` is the host's own.
    """

    class Collector:
        def collect(self) -> Any:
            labels = ("operation",) if elsewhere is None else ("unit", "replica", "release", "operation")
            here = _Families("allotrope", ", where the body runs", labels)
            far = _Families("allotrope_far", " to another unit, as who asks saw it", labels)
            for where, meter in _placed(meters, elsewhere, place):
                (far if meter.far else here).add(where, meter)
            return [*here.all, *(far.all if elsewhere is not None else ())]

    return Collector()


class _Families:
    """The metrics of one side of the calls."""

    def __init__(self, prefix: str, side: str, labels: tuple[str, ...]) -> None:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        self.calls = CounterMetricFamily(f"{prefix}_calls", f"Finished calls{side}", labels=labels)
        self.errors = CounterMetricFamily(f"{prefix}_errors", f"Errors{side}", labels=(*labels, "error"))
        self.running = GaugeMetricFamily(f"{prefix}_running", f"Calls in progress{side}", labels=labels)
        self.times = HistogramMetricFamily(f"{prefix}_seconds", f"Time of a call{side}", labels=labels)
        says = f"Calls that wait for a place{side}", f"For how long the first of them has waited{side}"
        self.waiting = GaugeMetricFamily(f"{prefix}_waiting", says[0], labels=labels)
        self.waited = GaugeMetricFamily(f"{prefix}_waiting_seconds", says[1], labels=labels)
        self.all = [self.calls, self.errors, self.running, self.times, self.waiting, self.waited]
        if prefix != "allotrope":  # only who asks another unit has these
            says = "Answers of a fallback", "Times that a breaker shut"
            self.fallbacks = CounterMetricFamily("allotrope_fallbacks", says[0], labels=labels)
            self.shut = CounterMetricFamily("allotrope_breaker_shut", says[1], labels=labels)
            self.all += [self.fallbacks, self.shut]

    def add(self, place: tuple[str, ...], meter: Meter) -> None:
        self.calls.add_metric(place, meter.calls)
        self.running.add_metric(place, meter.running)
        for name, count in sorted(meter.errors.items()):
            self.errors.add_metric((*place, name), count)
        self.times.add_metric(place, _edges(meter), meter.seconds)
        self.waiting.add_metric(place, len(meter.waiting))
        self.waited.add_metric(place, max(time.time() - meter.waiting[0], 0.0) if meter.waiting else 0.0)
        if meter.fallbacks:
            self.fallbacks.add_metric(place, meter.fallbacks)
        if meter.shut:
            self.shut.add_metric(place, meter.shut)


def _placed(
    meters: Meters, elsewhere: Callable[[], Elsewhere] | None, place: str
) -> Iterator[tuple[tuple[str, ...], Meter]]:
    if elsewhere is None:
        yield from (((title,), meter) for title, meter in sorted(meters.items()))
        return
    for where, found in sorted({(place, "", ""): meters, **elsewhere()}.items()):
        yield from (((*where, title), meter) for title, meter in sorted(found.items()) if meter.started)


def _edges(meter: Meter) -> list[tuple[str, int]]:
    edges, total = [], 0
    for index, count in enumerate(meter.buckets):
        total += count
        edges.append((repr(float(1 << index) / 1e6), total))
    return [*edges, ("+Inf", total)]
