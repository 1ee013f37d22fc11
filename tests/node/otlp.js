// Everything that OTLP can say and this SDK can send: one span, one log record and one metric of every shape, and twenty plain spans.
// Arguments: the folder with the packages, the protocol (`grpc`, `http` or `json`), the endpoint, the key, the service name.
"use strict";
const { createRequire } = require("node:module");
const path = require("node:path");

const [, , folder, protocol, endpoint, key, service] = process.argv;
const packages = createRequire(path.join(folder, "package.json"));
const { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, ValueType, createTraceState, trace } = packages("@opentelemetry/api");
const { resourceFromAttributes } = packages("@opentelemetry/resources");
const { BasicTracerProvider, BatchSpanProcessor } = packages("@opentelemetry/sdk-trace-base");
const { BatchLogRecordProcessor, LoggerProvider } = packages("@opentelemetry/sdk-logs");
const { AggregationTemporality, AggregationType, MeterProvider, PeriodicExportingMetricReader } = packages("@opentelemetry/sdk-metrics");

const kind = { grpc: "grpc", http: "proto", json: "http" }[protocol];
const { OTLPTraceExporter } = packages(`@opentelemetry/exporter-trace-otlp-${kind}`);
const { OTLPLogExporter } = packages(`@opentelemetry/exporter-logs-otlp-${kind}`);
const { OTLPMetricExporter } = packages(`@opentelemetry/exporter-metrics-otlp-${kind}`);

const authorization = `Bearer ${key}`;
function to(signal) {
  if (protocol !== "grpc") return { url: `${endpoint}/v1/${signal}`, headers: { authorization }, compression: "gzip" };
  const { Metadata } = packages("@grpc/grpc-js");
  const metadata = new Metadata();
  metadata.set("authorization", authorization);
  return { url: endpoint, metadata, compression: "gzip" };
}

const resource = resourceFromAttributes({
  "service.name": service,
  "service.instance.id": "one",
  "host.ports": [80, 443],
  "host.ready": true,
  "host.load": 0.5,
  "host.cpus": 4,
});
const spans = new BasicTracerProvider({
  resource,
  spanLimits: { attributeCountLimit: 9, eventCountLimit: 2, linkCountLimit: 1, attributePerEventCountLimit: 2, attributePerLinkCountLimit: 1 },
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter(to("traces")))],
});
const logs = new LoggerProvider({
  resource,
  logRecordLimits: { attributeCountLimit: 2 },
  processors: [new BatchLogRecordProcessor({ exporter: new OTLPLogExporter(to("logs")) })],
});
const counters = (type) => (type === "COUNTER" ? AggregationTemporality.DELTA : AggregationTemporality.CUMULATIVE);
const exporter = new OTLPMetricExporter(to("metrics"));
exporter.selectAggregationTemporality = counters;
const metrics = new MeterProvider({
  resource,
  readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })],
  views: [{ instrumentName: "reply.size", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM, options: { maxSize: 160 } } }],
});

async function main() {
  const tracer = spans.getTracer("senders", "1.2");
  for (let at = 0; at < 20; at++) tracer.startSpan(`plain ${at}`).end();

  const context = (traceId, spanId, state) => ({
    traceId,
    spanId,
    isRemote: true,
    traceFlags: TraceFlags.SAMPLED,
    traceState: createTraceState(state),
  });
  const parent = context("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "vendor=one");
  const other = context("1af7651916cd43dd8448eb211c80319c", "c7ad6b7169203331", "linked=two");
  const span = tracer.startSpan(
    "everything",
    {
      kind: SpanKind.CLIENT,
      links: [{ context: other, attributes: { dropped: true } }],
      attributes: {
        text: "é \"quoted\" \\ '\n",
        flag: true,
        number: -7,
        float: 2.5,
        texts: ["a", "b"],
        flags: [true, false],
        numbers: [1, -2],
        floats: [0.5, 1.5],
        last: "kept",
      },
    },
    trace.setSpanContext(ROOT_CONTEXT, parent),
  );
  span.addLink({ context: other, attributes: { reason: "batch", "dropped.last": 1 } });
  span.setAttribute("dropped.last", 1);
  span.addEvent("dropped", { n: 1 });
  span.addEvent("retry", { attempt: 1 });
  span.addEvent("retry", { attempt: 2, hosts: ["x", "y"], "dropped.last": 1 });
  span.setStatus({ code: SpanStatusCode.ERROR, message: "declined" });

  const log = logs.getLogger("senders", "1.2");
  const nested = { text: "x", list: [1, "two", { three: 3.5 }], flag: false, bytes: Uint8Array.of(0, 255) };
  const bodies = ["plain text", 17, 2.5, true, Uint8Array.of(0, 1, 255), ["a", 1, [true]], nested];
  bodies.forEach((body, at) =>
    log.emit({
      severityNumber: 14,
      severityText: "WARN2",
      body,
      eventName: at === 0 ? "order.placed" : undefined,
      attributes: at === 0 ? { at, nested, "dropped.last": 1 } : { at },
      context: trace.setSpan(ROOT_CONTEXT, span),
    }),
  );

  const meter = metrics.getMeter("senders", "1.2");
  meter.createCounter("orders", { unit: "1", description: "Orders by outcome." }).add(3, { outcome: "ok", retried: false, code: 200 });
  meter.createUpDownCounter("queue.depth").add(-2);
  const latency = meter.createHistogram("latency", { unit: "s", description: "Latency.", advice: { explicitBucketBoundaries: [0.25, 1] } });
  latency.record(0.1, { route: "/pay" });
  latency.record(2.5, { route: "/pay" });
  const size = meter.createHistogram("reply.size", { unit: "By" });
  for (const value of [1, 2, 4, 8, 0]) size.record(value);
  meter.createGauge("workers", { valueType: ValueType.INT }).record(7);
  meter.createObservableGauge("temperature", { unit: "Cel" }).addCallback((result) => result.observe(21.5, { room: "küche" }));
  span.end();
  for (const provider of [spans, logs, metrics]) await provider.shutdown();
  console.log("sent");
}

main();
