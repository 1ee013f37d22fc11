"""A small shop, instrumented with the real OpenTelemetry SDK: one server span per request, exported over OTLP/gRPC.

Arguments: the endpoint and, optionally, the version it calls itself. Prints its port on the first line. `POST /order` takes an order; `POST /admin/{break,scale,unscale,rollback}` changes it.
"""

import http.server
import json
import os
import sys
import threading

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

endpoint = sys.argv[1]
version = sys.argv[2] if len(sys.argv) > 2 else "2.4.1"
resource = Resource.create({"service.name": "checkout", "service.version": version, "deployment.environment.name": "test"})
provider = TracerProvider(resource=resource)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True), schedule_delay_millis=200))
trace.set_tracer_provider(provider)
reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=endpoint, insecure=True), export_interval_millis=1000)
metrics.set_meter_provider(MeterProvider(resource=resource, metric_readers=[reader]))
tracer = trace.get_tracer("shop", "1.0")
baskets = metrics.get_meter("shop").create_counter("baskets", unit="1", description="Baskets by outcome.")

state = {"broken": False, "replicas": 4, "acts": []}


class PaymentDeclined(Exception):
    """The bank did not answer in time."""


def charge(order):
    if state["broken"] and order % 3 == 0:
        raise PaymentDeclined(f"bank-{order % 7} did not answer within 2.0 s for order {order}")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if self.path == "/order":
            self.order(int(body or b"0"))
        elif self.path.startswith("/admin/"):
            self.admin(self.path.removeprefix("/admin/"))
        else:
            self.answer(404, {})

    def order(self, number):
        try:
            with tracer.start_as_current_span("POST /order", kind=SpanKind.SERVER) as span:
                span.set_attribute("enduser.id", f"customer-{number % 50}")
                charge(number)
            baskets.add(1, {"outcome": "ok"})
            self.answer(200, {"order": number})
        except PaymentDeclined as error:
            baskets.add(1, {"outcome": "failed"})
            self.answer(500, {"error": str(error)})

    def admin(self, act):
        state["acts"].append(act)
        if act == "break":
            state["broken"] = True
        elif act == "rollback":
            state["broken"] = False
        elif act == "scale":
            state["replicas"] = 6
        elif act == "unscale":
            state["replicas"] = 4
        self.answer(200, {"acts": state["acts"], "replicas": state["replicas"]})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
# The shop ends with whoever started it.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
server.serve_forever()
