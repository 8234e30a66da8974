"""Metrics for Prometheus, on the loopback address only. The library is loaded when somebody asks for them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from allotrope.kernel.errors import Refused
from allotrope.runtime.telemetry.meters import Elsewhere, Meters, exposed

HOST = "127.0.0.1"
# One, or one for each consumer, or for each consumer and reason.
Figure = float | Mapping[str, float] | Mapping[tuple[str, str], float]
Gauges = Mapping[str, tuple[str, Callable[[], Figure]]]  # name -> (what it says, how to read it)


class Served(NamedTuple):
    """A metrics door that is open."""

    address: str
    close: Callable[[], None]


def serve(
    port: int, meters: Meters, gauges: Gauges, elsewhere: Callable[[], Elsewhere] | None = None
) -> Served:
    """Open the door at `port`, 0 for any that is free. Refused when it is taken."""
    from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server

    registry = CollectorRegistry()
    registry.register(exposed(meters, elsewhere))
    registry.register(gauged(gauges))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    try:
        server, thread = start_http_server(port, HOST, registry)
    except OSError as error:
        raise Refused(
            f"--metrics {port}: {error.strerror or error}; choose another port, or 0 for a free one"
        ) from None

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return Served(f"http://{HOST}:{server.server_port}/metrics", close)


def gauged(gauges: Gauges) -> Any:
    """Return a Prometheus collector over gauges; the library is loaded only now."""
    from prometheus_client.core import GaugeMetricFamily

    def family(name: str, says: str, figure: Figure) -> Any:
        if not isinstance(figure, Mapping):
            return GaugeMetricFamily(name, says, figure)
        places = {place if isinstance(place, tuple) else (place,): value for place, value in figure.items()}
        labels = ("consumer", "reason")[: len(next(iter(places), ("",)))]
        found = GaugeMetricFamily(name, says, labels=labels)
        for place, value in places.items():
            found.add_metric(place, value)
        return found

    class Collector:
        def collect(self) -> Any:
            return [family(f"allotrope_{name}", says, read()) for name, (says, read) in gauges.items()]

    return Collector()
