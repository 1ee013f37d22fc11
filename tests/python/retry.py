"""Fifty spans in one batch, to a server that may refuse them at first: the SDK sends them again by itself.

Arguments: the protocol (`grpc` or `http`), the endpoint, the service name. Says when it is going to try again (the SDK's own words), and
`sent` once the spans are accepted.
"""

import logging
import sys

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

protocol, endpoint, service = sys.argv[1:4]
logging.basicConfig(level=logging.INFO)
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=True, timeout=90)
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=90)

results = []
export = exporter.export


def noted(spans):
    results.append(export(spans))
    return results[-1]


exporter.export = noted
provider = TracerProvider(resource=Resource.create({"service.name": service}))
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
tracer = provider.get_tracer("retry")
for number in range(50):
    tracer.start_span(f"span {number}").end()
provider.force_flush(120_000)
assert results == [SpanExportResult.SUCCESS], results
print("sent", flush=True)
provider.shutdown()
