// Fifty spans in one batch, to a server that may refuse them at first: the SDK sends them again by itself. Arguments: the folder with the
// packages, the endpoint, the service name. Says when it is going to try again (the SDK's own words), and `sent` once they are accepted.
"use strict";
const { createRequire } = require("node:module");
const path = require("node:path");

const [, , folder, endpoint, service] = process.argv;
const packages = createRequire(path.join(folder, "package.json"));
const { DiagConsoleLogger, DiagLogLevel, diag } = packages("@opentelemetry/api");
const { OTLPTraceExporter } = packages("@opentelemetry/exporter-trace-otlp-proto");
const { resourceFromAttributes } = packages("@opentelemetry/resources");
const { BasicTracerProvider, BatchSpanProcessor } = packages("@opentelemetry/sdk-trace-base");

diag.setLogger(new DiagConsoleLogger(), DiagLogLevel.VERBOSE);
const exporter = new OTLPTraceExporter({ url: `${endpoint}/v1/traces`, timeoutMillis: 90_000 });
const codes = [];
const send = exporter.export.bind(exporter);
exporter.export = (spans, done) => send(spans, (result) => (codes.push(result.code), done(result)));
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": service }),
  spanProcessors: [new BatchSpanProcessor(exporter, { scheduledDelayMillis: 3_600_000, exportTimeoutMillis: 90_000 })],
});

async function main() {
  const tracer = provider.getTracer("retry");
  for (let number = 0; number < 50; number++) tracer.startSpan(`span ${number}`).end();
  await provider.forceFlush();
  if (codes.length !== 1 || codes[0] !== 0) throw new Error(`export ended with ${codes}`);
  console.log("sent");
  await provider.shutdown();
}

main();
