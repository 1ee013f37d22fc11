// Crashes of four kinds, each told to Sentry's SDK and to OpenTelemetry's (as a span event). Besides: transactions, a log, a
// check-in, a session, feedback, an attachment, a message that is held back. Arguments: the folder with the packages, the DSN, the OTLP/HTTP endpoint, its key.
"use strict";
const { createRequire } = require("node:module");
const net = require("node:net");
const path = require("node:path");

const [, , folder, dsn, endpoint, key] = process.argv;
const packages = createRequire(path.join(folder, "package.json"));
const Sentry = packages("@sentry/node");
const { BasicTracerProvider, SimpleSpanProcessor } = packages("@opentelemetry/sdk-trace-base");
const { OTLPTraceExporter } = packages("@opentelemetry/exporter-trace-otlp-http");
const { resourceFromAttributes } = packages("@opentelemetry/resources");

const heldBack = (event) => (event.message === "nobody wants to know" ? null : event);
Sentry.init({ dsn, release: "2.4.1", environment: "test", tracesSampleRate: 1, enableLogs: true, beforeSend: heldBack });
Sentry.setUser({ id: "customer-8" });
const exporter = new OTLPTraceExporter({ url: `${endpoint}/v1/traces`, headers: { authorization: `Bearer ${key}` } });
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": "checkout", "service.version": "2.4.1" }),
  spanProcessors: [new SimpleSpanProcessor(exporter)],
});
const tracer = provider.getTracer("crashes");

class ValidationError extends Error {
  constructor(message) {
    super(message);
    this.name = "ValidationError";
  }
}

class Order {
  total(item) {
    return item[`field${this.at}`].price;
  }
}

function property(at) {
  const order = new Order();
  order.at = at;
  return order.total({});
}

function list(at) {
  return [at].map((one) => new Array(-one));
}

function check(at) {
  throw new ValidationError(`field "home${at}" is not an address`);
}

// Nothing listens on these ports of this machine.
const connect = (at) =>
  new Promise((resolve, reject) => net.connect({ port: at, host: "127.0.0.1" }).on("error", reject).on("connect", resolve));

function tell(error) {
  const span = tracer.startSpan("crash");
  span.recordException(error);
  span.end();
  Sentry.withScope((scope) => {
    scope.addAttachment({ filename: "cart.txt", data: "nothing that is kept" });
    Sentry.captureException(error);
  });
}

async function main() {
  for (const crash of [property, list, check, connect]) {
    for (let at = 1; at <= 5; at++) {
      try {
        await crash(at);
      } catch (error) {
        tell(error);
      }
    }
  }
  Sentry.startSpan({ name: "GET /cart", op: "http.server" }, () => {
    Sentry.startSpan({ name: "SELECT * FROM carts WHERE id = 7", op: "db" }, () => {});
  });
  // What is held back is told by a client report; what people write and files are ignored.
  Sentry.captureMessage("nobody wants to know");
  Sentry.captureFeedback({ message: "the cart is empty", email: "ana@example.org" });
  Sentry.logger.warn("cart 8 is slow", { cart: 8 });
  Sentry.withMonitor("hourly", () => {});
  await Sentry.flush(30_000);
  await provider.forceFlush();
  console.log("sent");
}

main();
