"""Everything that OTLP can say and this SDK can send: one span, one log record and one metric of every shape, and twenty plain spans.

Arguments: the protocol (`grpc` or `http`), the endpoint, the key, the service name.
"""

import sys
import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.metrics import Observation
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.span import TraceState

protocol, endpoint, key, service = sys.argv[1:5]
headers = {"authorization": f"Bearer {key}"}
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    def to(exporter, path, **more):
        return exporter(endpoint=endpoint, headers=headers, insecure=True, **more)
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    def to(exporter, path, **more):
        return exporter(endpoint=f"{endpoint}/v1/{path}", headers=headers, **more)


resource = Resource.create(
    {"service.name": service, "service.instance.id": "one", "host.ports": [80, 443], "host.ready": True, "host.load": 0.5, "host.cpus": 4}
)
limits = SpanLimits(max_span_attributes=9, max_events=2, max_links=1, max_event_attributes=2, max_link_attributes=1)
spans = TracerProvider(resource=resource, span_limits=limits)
spans.add_span_processor(BatchSpanProcessor(to(OTLPSpanExporter, "traces")))
logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(to(OTLPLogExporter, "logs")))
temporality = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.CUMULATIVE}
reader = PeriodicExportingMetricReader(to(OTLPMetricExporter, "metrics", preferred_temporality=temporality), export_interval_millis=3_600_000)
views = [View(instrument_name="reply.size", aggregation=ExponentialBucketHistogramAggregation(max_size=160, max_scale=20))]
metrics = MeterProvider(resource=resource, metric_readers=[reader], views=views)

tracer = spans.get_tracer("senders", "1.2", attributes={"scope.kind": "test"})
for at in range(20):
    tracer.start_span(f"plain {at}").end()

parent = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True, TraceFlags(1), TraceState([("vendor", "one")]))
other = SpanContext(0x1AF7651916CD43DD8448EB211C80319C, 0xC7AD6B7169203331, True, TraceFlags(1), TraceState([("linked", "two")]))
span = tracer.start_span(
    "everything",
    context=set_span_in_context(NonRecordingSpan(parent)),
    kind=SpanKind.CLIENT,
    links=[Link(other, {"dropped": True}), Link(other, {"dropped.first": 1, "reason": "batch"})],
    attributes={
        "dropped.first": 1,
        "text": "é \"quoted\" \\ '\n",
        "flag": True,
        "number": -7,
        "float": 2.5,
        "texts": ["a", "b"],
        "flags": [True, False],
        "numbers": [1, -2],
        "floats": [0.5, 1.5],
    },
)
span.set_attribute("last", "kept")
span.add_event("dropped", {"n": 1})
span.add_event("retry", {"attempt": 1})
span.add_event("retry", {"dropped.first": 1, "attempt": 2, "hosts": ["x", "y"]})
span.set_status(Status(StatusCode.ERROR, "declined"))

log = logs.get_logger("senders", "1.2")
nested = {"text": "x", "list": [1, "two", {"three": 3.5}], "flag": False, "bytes": b"\x00\xff"}
for number, body in enumerate(["plain text", 17, 2.5, True, b"\x00\x01\xff", ["a", 1, [True]], nested]):
    log.emit(
        LogRecord(
            timestamp=time.time_ns(),
            observed_timestamp=time.time_ns(),
            severity_number=SeverityNumber.WARN2,
            severity_text="WARN2",
            body=body,
            event_name="order.placed" if number == 0 else None,
            attributes={"at": number, "nested": nested} if number == 0 else {"at": number},
            context=set_span_in_context(span),
        )
    )

meter = metrics.get_meter("senders", "1.2")
orders = meter.create_counter("orders", unit="1", description="Orders by outcome.")
depth = meter.create_up_down_counter("queue.depth")
latency = meter.create_histogram("latency", unit="s", description="Latency.", explicit_bucket_boundaries_advisory=[0.25, 1.0])
size = meter.create_histogram("reply.size", unit="By")
meter.create_observable_gauge("temperature", [lambda _: [Observation(21.5, {"room": "küche"})]], unit="Cel")
meter.create_gauge("workers").set(7)
with use_span(span):
    orders.add(3, {"outcome": "ok", "retried": False, "code": 200})
    depth.add(-2)
    latency.record(0.1, {"route": "/pay"})
    latency.record(2.5, {"route": "/pay"})
    for value in (1, 2, 4, 8, 0):
        size.record(value)
span.end()
for provider in (spans, logs, metrics):
    provider.shutdown()
print("sent")
