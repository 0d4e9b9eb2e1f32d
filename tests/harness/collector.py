"""A collector of OpenTelemetry's traces: takes OTLP over HTTP, and reads it with OpenTelemetry's own messages."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from harness.wait import until

KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


class Span:
    def __init__(self, span, resource):
        self.resource = resource
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.name, self.kind, self.state = span.name, KINDS[span.kind], span.trace_state
        self.start, self.end = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes = attributes(span.attributes)
        # 2: an error.
        self.failed, self.message = span.status.code == 2, span.status.message

    def __repr__(self):
        return f"<{self.kind} {self.name} of {self.parent or 'nobody'}, {(self.end - self.start) / 1000} µs, {self.attributes}>"


def attributes(pairs):
    found = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
    assert len(found) == len(pairs), "an attribute is there twice"
    return found


class Collector:
    """Answers 200, or what `status` says."""

    def __init__(self):
        self.spans, self.requests, self.status = [], [], 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(self.path, self.headers, body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(collector.status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})

    def take(self, path, headers, body):
        self.requests.append((path, dict(headers)))
        if self.status != 200:
            return
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            named = attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                assert scope.scope.name == "hearth" and scope.scope.version
                self.spans += [Span(span, named) for span in scope.spans]

    def of(self, trace):
        return [span for span in list(self.spans) if span.trace == trace]

    def call(self, request_id, attempt=None):
        """The span of a call, once it is here."""

        def found():
            for span in list(self.spans):
                is_it = span.attributes.get("faas.invocation_id") == request_id
                if is_it and span.attributes.get("hearth.attempt") == attempt:
                    return span

        return until(f"the span of {request_id}", found, within=20)

    def below(self, span):
        return sorted((one for one in self.of(span.trace) if one.parent == span.id), key=lambda one: one.start)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
