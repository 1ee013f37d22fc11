//! One table of crashes, each sent as spans, as log records and as Sentry events, from several releases, with other values in its
//! message and caught in other places: as many kinds come out as went in.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use serde_json::json;

use super::fixtures::*;
use crate::decode::Protocol;
use crate::rows::Builder;
use crate::sentry::Endpoint;

/// A kind of crash: type, package of the type, message, innermost call first.
struct Crash {
    name: &'static str,
    platform: &'static str,
    package: &'static str,
    kind: &'static str,
    /// `{}` is what differs between events.
    message: &'static str,
    values: &'static [&'static str],
    /// Function and path below the release's folder; those in `lib/` lie outside it.
    calls: &'static [(&'static str, &'static str)],
}

const CRASHES: [Crash; 9] = [
    Crash {
        name: "a missing key in the cart",
        platform: "python",
        package: "",
        kind: "KeyError",
        message: "'{}'",
        values: &["a", "b", "total", "it\\'s", "17"],
        calls: &[("total", "shop/cart.py"), ("order", "shop/app.py"), ("main", "shop/__main__.py")],
    },
    Crash {
        name: "a missing key in the session",
        platform: "python",
        package: "",
        kind: "KeyError",
        message: "'{}'",
        values: &["a", "user", "c", "d"],
        calls: &[("load", "shop/session.py"), ("order", "shop/app.py")],
    },
    Crash {
        name: "the bank",
        platform: "python",
        package: "shop.errors",
        kind: "PaymentDeclined",
        message: "bank-{} did not answer within 2.0 s",
        values: &["1", "2", "3", "44", "5"],
        calls: &[("charge", "shop/pay.py"), ("order", "shop/app.py")],
    },
    Crash {
        name: "a division",
        platform: "python",
        package: "",
        kind: "ZeroDivisionError",
        message: "division by zero",
        values: &["", "", "", "", ""],
        calls: &[("share", "shop/cart.py"), ("<lambda>", "shop/cart.py"), ("order", "shop/app.py")],
    },
    Crash {
        name: "a library fails",
        platform: "python",
        package: "requests.exceptions",
        kind: "ConnectionError",
        message: "HTTPSConnectionPool(host='bank-{}', port=443): Max retries exceeded",
        values: &["a", "b", "c", "d"],
        calls: &[("send", "lib/python3.11/site-packages/requests/adapters.py"), ("ask", "shop/bank.py"), ("order", "shop/app.py")],
    },
    Crash {
        name: "a property of nothing",
        platform: "node",
        package: "",
        kind: "TypeError",
        message: "Cannot read properties of undefined (reading '{}')",
        values: &["id", "sku", "price", "name", "x"],
        calls: &[("Order.total", "src/order.js"), ("new Cart", "src/cart.js"), ("<anonymous>", "src/server.js")],
    },
    Crash {
        name: "a database that is away",
        platform: "node",
        package: "",
        kind: "Error",
        message: "connect ECONNREFUSED 127.0.0.1:{}",
        values: &["5432", "5433", "6379", "1", "2"],
        calls: &[("TCPConnectWrap.afterConnect", "node:net"), ("Db.open", "src/db.js")],
    },
    Crash {
        name: "a list that is too long",
        platform: "node",
        package: "",
        kind: "RangeError",
        message: "Invalid array length",
        values: &["", "", "", ""],
        calls: &[("Object.<anonymous>", "src/list.js"), ("next", "node_modules/express/lib/router.js")],
    },
    Crash {
        name: "bad input",
        platform: "node",
        package: "",
        kind: "ValidationError",
        message: "field {} is not an address",
        values: &["\"home\"", "\"work\"", "'x y'", "'z'", "\"\""],
        calls: &[("check", "src/input.js"), ("handle", "src/server.js")],
    },
];

/// One crash that happened.
struct Happened<'c> {
    crash: &'c Crash,
    message: String,
    root: String,
    line: usize,
    /// How many calls out it was caught.
    caught: usize,
}

impl Happened<'_> {
    fn path(&self, file: &str) -> String {
        match file {
            _ if file.starts_with("node:") => file.to_owned(),
            _ if file.starts_with("lib/") => format!("/usr/{file}"),
            _ => format!("{}/{file}", self.root),
        }
    }
    fn calls(&self) -> &[(&'static str, &'static str)] {
        let innermost = self.crash.calls.iter().take_while(|(_, file)| !file.starts_with("shop/") && !file.starts_with("src/")).count();
        &self.crash.calls[..self.crash.calls.len().min(innermost + 1 + self.caught)]
    }
    fn qualified(&self) -> String {
        if self.crash.package.is_empty() { self.crash.kind.to_owned() } else { format!("{}.{}", self.crash.package, self.crash.kind) }
    }
    /// The stack as the runtime prints it.
    fn trace(&self) -> String {
        let lines = |line: fn(&str, &str, usize) -> String, calls: &mut dyn Iterator<Item = &(&'static str, &'static str)>| {
            calls.map(|(function, file)| line(function, &self.path(file), self.line)).collect::<String>()
        };
        if self.crash.platform == "python" {
            let line = |function: &str, path: &str, line: usize| format!("  File \"{path}\", line {line}, in {function}\n    code\n");
            let frames = lines(line, &mut self.calls().iter().rev());
            let end = if self.message.is_empty() { String::new() } else { format!(": {}", self.message) };
            return format!("Traceback (most recent call last):\n{frames}{}{end}\n", self.qualified());
        }
        let line = |function: &str, path: &str, line: usize| match function {
            "<anonymous>" => format!("\n    at {path}:{line}:7"),
            function => format!("\n    at {function} ({path}:{line}:7)"),
        };
        format!("{}: {}{}", self.crash.kind, self.message, lines(line, &mut self.calls().iter()))
    }
    /// As the OpenTelemetry SDK of the language records it on a span.
    fn span(&self) -> Vec<u8> {
        let code = self.message.split(' ').find(|word| self.crash.platform == "node" && word.starts_with("ECONN"));
        let attributes = vec![
            text("exception.type", code.unwrap_or(&self.qualified())),
            text("exception.message", &self.message),
            text("exception.stacktrace", &self.trace()),
        ];
        let events = vec![Event { time_unix_nano: NOW, name: "exception".into(), attributes, ..Event::default() }];
        prost::Message::encode_to_vec(&traces_of(vec![Span { events, ..span(NOW) }]))
    }
    /// As Python's logging handler sends it: the type without its package, the first argument as the message.
    fn log(&self) -> Vec<u8> {
        let mut record = record(NOW);
        record.attributes = vec![
            text("exception.type", self.crash.kind),
            text("exception.message", self.message.trim_matches('\'')),
            text("exception.stacktrace", &self.trace()),
        ];
        prost::Message::encode_to_vec(&logs_of(vec![record]))
    }
    /// As Sentry's SDK of the language sends it.
    fn sentry(&self) -> Vec<u8> {
        let python = self.crash.platform == "python";
        let frames = self.calls().iter().rev().map(|(function, file)| {
            let path = self.path(file);
            if python {
                return json!({"function": function, "filename": file, "abs_path": path, "module": "m", "lineno": self.line, "in_app": true});
            }
            let function = function.replace("<anonymous>", "?");
            json!({"function": function, "filename": path, "module": "m", "lineno": self.line, "colno": 7, "in_app": !path.contains("node")})
        });
        let module = if self.crash.package.is_empty() { serde_json::Value::Null } else { json!(self.crash.package) };
        let exception =
            json!({"type": self.crash.kind, "module": module, "value": self.message, "stacktrace": {"frames": frames.collect::<Vec<_>>()}});
        let event = json!({"platform": self.crash.platform, "timestamp": NOW / 1_000_000_000, "exception": {"values": [exception]}, "level": "error"});
        format!("{{}}\n{{\"type\":\"event\"}}\n{event}\n").into_bytes()
    }
}

fn fingerprint(protocol: Protocol, body: &[u8]) -> String {
    let world = World::default();
    let arrival = world.arrival();
    let mut builder = Builder::new(arrival, None);
    protocol.read(body, arrival.limits.bounds(), &mut builder).unwrap();
    let rows = rows(&builder.finish().unwrap().blocks, "error_events");
    assert_eq!(rows.len(), 1);
    rows[0]["fingerprint"].clone()
}

#[test]
fn nine_kinds_of_crashes_sent_in_three_ways_are_nine_kinds() {
    use crate::decode::{Format, Signal};
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut events = 0;
    for crash in &CRASHES {
        for (at, value) in crash.values.iter().enumerate() {
            let message = crash.message.replace("{}", value);
            let root = ["/srv/releases/41", "/srv/releases/42", "/app"][at % 3].to_owned();
            let happened = Happened { crash, message, root, line: 10 + at, caught: at % 3 };
            let prints = found.entry(crash.name).or_default();
            prints.insert(fingerprint(Protocol::Sentry(Endpoint::Envelope, 1), &happened.sentry()));
            prints.insert(fingerprint(Protocol::Otlp(Signal::Traces, Format::Protobuf), &happened.span()));
            if crash.platform == "python" {
                prints.insert(fingerprint(Protocol::Otlp(Signal::Logs, Format::Protobuf), &happened.log()));
            }
            events += 1;
        }
    }
    assert_eq!(events, 42);
    for (name, prints) in &found {
        assert_eq!(prints.len(), 1, "{name} must be one kind, whichever way it came: {prints:?}");
    }
    let all: BTreeSet<&String> = found.values().flatten().collect();
    assert_eq!(all.len(), 9, "nine kinds must not fall together: {found:#?}");
}
