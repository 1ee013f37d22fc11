// Clients of formats other than OpenTelemetry's, as their users use them. Arguments: the folder with the packages, which one, and where it
// sends to.
"use strict";
const { createRequire } = require("node:module");
const path = require("node:path");

const [, , folder, which, ...where] = process.argv;
const packages = createRequire(path.join(folder, "package.json"));

async function loki(host) {
  const winston = packages("winston");
  const LokiTransport = packages("winston-loki");
  packages("snappy"); // without it the transport would send JSON twice
  for (const json of [true, false]) {
    const failed = [];
    const transport = new LokiTransport({
      host,
      json,
      batching: true,
      interval: 1,
      labels: { app: json ? "node-json" : "node-protobuf" },
      format: winston.format.simple(),
      onConnectionError: (error) => failed.push(error),
    });
    const logger = winston.createLogger({ level: "debug", transports: [transport] });
    logger.info("started");
    for (let number = 0; number < 20; number++) logger.error(`order ${number} "failed"`, { labels: { job: "orders" } });
    await transport.flush();
    logger.close();
    if (failed.length) throw failed[0];
  }
}

async function fluent(port, sharedKey) {
  const { FluentClient } = packages("@fluent-org/logger");
  for (const eventMode of ["Message", "Forward", "PackedForward", "CompressedPackedForward"]) {
    const security = sharedKey ? { security: { clientHostname: "node", sharedKey } } : {};
    const client = new FluentClient("node", { eventMode, ack: { ackTimeout: 20000 }, socket: { host: "127.0.0.1", port: Number(port) }, ...security });
    const sent = [];
    for (let number = 0; number < 25; number++) sent.push(client.emit(eventMode, { message: `event ${number}`, level: "warn", number }));
    await client.flush();
    // Each promise resolves once the event is acknowledged.
    await Promise.all(sent);
    await client.shutdown();
  }
}

// Sends on and on, and tells each event that was acknowledged, until the server goes away.
async function acknowledged(port, prefix) {
  const { FluentClient } = packages("@fluent-org/logger");
  const client = new FluentClient("killed", { eventMode: "PackedForward", ack: { ackTimeout: 2000 }, socket: { host: "127.0.0.1", port: Number(port) } });
  let gone = false;
  client.socketOn("close", () => (gone = true));
  client.socketOn("error", () => (gone = true));
  for (let number = 0; !gone; number += 10) {
    const texts = Array.from({ length: 10 }, (_, at) => `${prefix} event ${number + at}`);
    const sent = texts.map((message) => client.emit("events", { message }).then(() => console.log(message)));
    await client.flush();
    const timeout = new Promise((resolve) => setTimeout(resolve, 3000));
    await Promise.race([Promise.allSettled(sent), timeout]);
  }
}

({ loki, fluent, acknowledged })[which](...where).then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
