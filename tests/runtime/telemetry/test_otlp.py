"""Spans reach a collector over OTLP/HTTP, in real protobuf; without the extra there is one warning."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from allotrope.runtime.telemetry.otlp import exporter
from allotrope.runtime.tracing import Span

TRACE = 0x0AF7651916CD43DD8448EB211C80319C


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[Any]]]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra `otlp`")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    requests: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)  # the SDK reads the process's own
    yield address, requests
    server.shutdown()
    server.server_close()
    thread.join()


def test_spans_arrive_as_protobuf(collector: tuple[str, list[Any]]) -> None:
    address, requests = collector
    sink = exporter("fraud", {"OTEL_EXPORTER_OTLP_ENDPOINT": address})
    assert sink is not None
    root = Span(TRACE, 1, 0, "Submitted", 1_000, 9_000, request="r1")
    failed = Span(
        TRACE, 2, 1, "Scorer.score", 2_000, 3_000, "ValueError", origin=42, path="/Intake.accept#000",
        links=(f"00-{5:032x}-{6:016x}-01", f"00-{7:032x}-{8:016x}-01"),
    )  # fmt: skip
    sink.keep([root, failed], 0)
    sink.close()
    ((path, request),) = requests
    assert path == "/v1/traces"
    (resource,) = request.resource_spans
    service = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    assert service["service.name"] == "fraud"
    one, two = resource.scope_spans[0].spans
    assert (one.name, one.trace_id.hex(), one.parent_span_id) == ("Submitted", f"{TRACE:032x}", b"")
    assert (two.span_id.hex(), two.parent_span_id.hex()) == (f"{2:016x}", f"{1:016x}")
    assert (two.start_time_unix_nano, two.end_time_unix_nano) == (2_000, 3_000)
    assert (one.status.code, two.status.code, two.status.message) == (1, 2, "ValueError")
    assert [int(link.span_id.hex(), 16) for link in two.links] == [6, 8]
    assert [int(link.trace_id.hex(), 16) for link in two.links] == [5, 7]
    assert not one.links
    facts = {attribute.key: attribute.value for attribute in two.attributes}
    assert facts["allotrope.origin"].int_value == 42
    assert facts["allotrope.path"].string_value == "/Intake.accept#000"


@pytest.mark.parametrize(
    "environment", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}]
)
def test_nothing_is_exported_unasked(environment: dict[str, str]) -> None:
    assert exporter("fraud", environment) is None


def test_a_missing_extra_is_one_warning_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert exporter("fraud", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}) is None
    (record,) = caplog.records
    assert "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set" in record.getMessage()
    assert "pip install 'allotrope[otlp]'" in record.getMessage()


def test_the_sdk_is_not_loaded_unless_asked_for() -> None:
    code = """if True:
        import sys
        from allotrope import compose
        from tests.cli.shop import app
        compose.sinks(app, None)
        print([name for name in sys.modules if name.startswith("opentelemetry")])
    """
    path = "import sys; sys.path[:0] = " + repr(sys.path) + "\n"
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
