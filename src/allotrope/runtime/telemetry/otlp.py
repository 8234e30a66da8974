"""Spans to an OTLP collector, by OpenTelemetry's own SDK. Loaded only when the environment names an endpoint.

The SDK's variables (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_MAX_QUEUE_SIZE`, ...) hold here as everywhere.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from allotrope.runtime.telemetry.sinks import Sink
from allotrope.runtime.tracing import Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

log = logging.getLogger("allotrope.traces")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def exporter(app: str, environment: Mapping[str, str]) -> Sink | None:
    """Return a sink that exports the spans of `app`; None without an endpoint or without the extra."""
    named = next((name for name in _ENDPOINTS if environment.get(name)), "")
    if not named or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        return _Exporter(environment.get("OTEL_SERVICE_NAME") or app)
    except ImportError as error:
        log.warning(
            "%s is set, but %s is not installed: spans are not exported. "
            "Run `pip install 'allotrope[otlp]'`, or unset the variable",
            named, error.name or "the SDK",
        )  # fmt: skip
        return None


class _Exporter:
    """Hands spans to the SDK's batch processor, which never blocks and drops when its queue is full."""

    def __init__(self, service: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._resource = Resource.create({"service.name": service})
        self._scope = InstrumentationScope("allotrope")
        self._processor = BatchSpanProcessor(OTLPSpanExporter())

    def keep(self, spans: Sequence[Span], dropped: int) -> None:
        for span in spans:
            self._processor.on_end(self._translated(span))

    def _translated(self, span: Span) -> "ReadableSpan":
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link, SpanContext, TraceFlags
        from opentelemetry.trace.status import Status, StatusCode

        def context(span_id: int, trace_id: int = span.trace_id) -> SpanContext:
            flags = TraceFlags(TraceFlags.SAMPLED)
            return SpanContext(trace_id, span_id, is_remote=trace_id != span.trace_id, trace_flags=flags)

        served = (link.split("-") for link in span.links)

        good = span.status == "ok"
        facts: dict[str, Any] = {"origin": span.origin or None, "path": span.path, "request": span.request}
        return ReadableSpan(
            span.name,
            context(span.span_id),
            context(span.parent_id) if span.parent_id else None,
            self._resource,
            links=[Link(context(int(span_id, 16), int(trace, 16))) for _, trace, span_id, _ in served],
            attributes={f"allotrope.{name}": fact for name, fact in facts.items() if fact},
            status=Status(StatusCode.OK) if good else Status(StatusCode.ERROR, span.status),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )

    def close(self) -> None:
        shutdown: Callable[[], None] = self._processor.shutdown
        shutdown()
