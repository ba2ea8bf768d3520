"""An OTLP collector of other hands: OpenTelemetry's published protobufs over gRPC and HTTP, and none of the gateway's code."""

from __future__ import annotations

import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

SIGNALS = {
    "/v1/traces": (trace_service_pb2.ExportTraceServiceRequest, trace_service_pb2.ExportTraceServiceResponse),
    "/v1/metrics": (metrics_service_pb2.ExportMetricsServiceRequest, metrics_service_pb2.ExportMetricsServiceResponse),
    "/v1/logs": (logs_service_pb2.ExportLogsServiceRequest, logs_service_pb2.ExportLogsServiceResponse),
}


def value(any_value):
    kind = any_value.WhichOneof("value")
    return getattr(any_value, kind) if kind else None


def attributes(found) -> dict:
    return {one.key: value(one.value) for one in found}


class Collector:
    """Keeps what it is sent: spans, the newest of each metric, and lines of logs, with the headers of each request."""

    def __init__(self):
        self.changed = threading.Condition()
        self.spans, self.lines, self.metrics, self.headers, self.resources = [], [], {}, [], []

    def take(self, request, headers: dict) -> None:
        with self.changed:
            self.headers.append(headers)
            for resource in getattr(request, "resource_spans", []):
                self.resources.append(attributes(resource.resource.attributes))
                for scope in resource.scope_spans:
                    self.spans += scope.spans
            for resource in getattr(request, "resource_logs", []):
                self.resources.append(attributes(resource.resource.attributes))
                for scope in resource.scope_logs:
                    self.lines += scope.log_records
            for resource in getattr(request, "resource_metrics", []):
                self.resources.append(attributes(resource.resource.attributes))
                for scope in resource.scope_metrics:
                    self.metrics.update({metric.name: metric for metric in scope.metrics})
            self.changed.notify_all()

    def until(self, what, within: float = 20.0):
        """What `what` says of the collector, once it says something."""
        until = time.monotonic() + within
        with self.changed:
            while not (found := what(self)):
                left = until - time.monotonic()
                if left <= 0 or not self.changed.wait(left):
                    names = [span.name for span in self.spans]
                    raise AssertionError(f"not seen within {within} s: spans {names}, metrics {sorted(self.metrics)}")
            return found

    def __enter__(self) -> "Collector":
        return self

    def __exit__(self, *_) -> None:
        self.stop()


class OverHttp(Collector):
    """http/protobuf."""

    protocol = "http/protobuf"

    def __init__(self):
        super().__init__()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):  # noqa: N802
                asked, answer = SIGNALS[self.path]
                assert self.headers["Content-Type"] == "application/x-protobuf"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(asked.FromString(body), {name.lower(): text for name, text in self.headers.items()})
                reply = answer().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class OverGrpc(Collector):
    """gRPC."""

    protocol = "grpc"

    def __init__(self):
        super().__init__()
        collector = self

        def servicer(base, answer):
            def export(_, request, context):
                collector.take(request, {key.lower(): text for key, text in context.invocation_metadata()})
                return answer()
            return type("Servicer", (base,), {"Export": export})()

        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(
            servicer(trace_service_pb2_grpc.TraceServiceServicer, trace_service_pb2.ExportTraceServiceResponse), self.server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(
            servicer(metrics_service_pb2_grpc.MetricsServiceServicer, metrics_service_pb2.ExportMetricsServiceResponse),
            self.server)
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(
            servicer(logs_service_pb2_grpc.LogsServiceServicer, logs_service_pb2.ExportLogsServiceResponse), self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.endpoint = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self.server.stop(0).wait()
