//! The shop: five services whose requests become OTLP spans and logs. A pure generator: given the moment, what is broken and a
//! random source, it says what the services would have sent. `demo/emit.rs` sends it over the network like any client.

use std::time::Duration;

use model::time::Timestamp;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use rand::Rng;
use rand::rngs::StdRng;

/// The five services.
pub const SERVICES: [&str; 5] = ["storefront", "checkout", "payments", "inventory", "search"];

/// What the shop's operators have done to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShopState {
    /// The release 2.4.1 of payments is out: it loses its connection to the bank.
    pub bad_release: bool,
    /// Checkout runs on more replicas: more requests, the same share of errors.
    pub scaled_up: bool,
}

/// What the services would have sent.
#[derive(Debug, Default)]
pub struct Emission {
    /// Spans by service.
    pub spans: Vec<ResourceSpans>,
    /// Logs by service.
    pub logs: Vec<ResourceLogs>,
}

const STACK: &str = "Traceback (most recent call last):\n  File \"/srv/payments/app/handlers.py\", line 88, in charge\n    receipt = gateway.charge(card, amount)\n  File \"/srv/payments/app/gateway.py\", line 41, in charge\n    return self._post(\"/v2/charges\", body, timeout=2.0)\n  File \"/usr/lib/python3.11/site-packages/requests/sessions.py\", line 637, in post\n    return self.request(\"POST\", url, data=data, json=json, **kwargs)\nBankTimeout: no answer from bank-7 within 2.0 s for charge 8f41c2\n";

fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }
}

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(text(value)), ..KeyValue::default() }
}

fn resource(service: &str, state: ShopState) -> Option<Resource> {
    let release = if service == "payments" && state.bad_release { "2.4.1" } else { "2.4.0" };
    Some(Resource {
        attributes: vec![
            pair("service.name", service),
            pair("service.instance.id", &format!("{service}-1")),
            pair("service.version", release),
            pair("deployment.environment.name", "demo"),
        ],
        ..Resource::default()
    })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "shop".to_owned(), version: "1.0".to_owned(), ..InstrumentationScope::default() })
}

struct Call<'a> {
    trace: &'a [u8; 16],
    parent: &'a [u8],
    name: &'a str,
    kind: i32,
    start: Timestamp,
    duration: Duration,
    failed: bool,
}

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

fn span(call: &Call<'_>, rng: &mut StdRng) -> Span {
    let id: [u8; 8] = rng.random();
    let end = call.start.plus(call.duration);
    Span {
        trace_id: call.trace.to_vec(),
        span_id: id.to_vec(),
        parent_span_id: call.parent.to_vec(),
        name: call.name.to_owned(),
        kind: call.kind,
        start_time_unix_nano: call.start.nanos().unsigned_abs(),
        end_time_unix_nano: end.nanos().unsigned_abs(),
        status: Some(Status { code: if call.failed { 2 } else { 0 }, message: String::new() }),
        attributes: vec![pair("http.request.method", "POST"), pair("enduser.id", &format!("customer-{}", rng.random_range(1..400)))],
        ..Span::default()
    }
}

/// One second (or another slice) of the shop's life: `requests` check-outs and as many searches.
pub fn slice(now: Timestamp, requests: usize, state: ShopState, rng: &mut StdRng) -> Emission {
    let mut by_service: Vec<(&str, Vec<Span>)> = SERVICES.iter().map(|service| (*service, Vec::new())).collect();
    let mut failures = Vec::new();
    let requests = if state.scaled_up { requests + requests / 2 } else { requests };
    for _ in 0..requests {
        checkout(now, state, rng, &mut by_service, &mut failures);
        search(now, rng, &mut by_service);
    }
    let spans = by_service
        .into_iter()
        .filter(|(_, spans)| !spans.is_empty())
        .map(|(service, spans)| ResourceSpans {
            resource: resource(service, state),
            scope_spans: vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        })
        .collect();
    let logs = if failures.is_empty() {
        Vec::new()
    } else {
        vec![ResourceLogs {
            resource: resource("payments", state),
            scope_logs: vec![ScopeLogs { scope: scope(), log_records: failures, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }]
    };
    Emission { spans, logs }
}

type ByService<'a> = Vec<(&'a str, Vec<Span>)>;

fn push(by_service: &mut ByService<'_>, service: &str, span: Span) {
    if let Some((_, spans)) = by_service.iter_mut().find(|(name, _)| *name == service) {
        spans.push(span);
    }
}

fn checkout(now: Timestamp, state: ShopState, rng: &mut StdRng, by_service: &mut ByService<'_>, failures: &mut Vec<LogRecord>) {
    let trace: [u8; 16] = rng.random();
    let start = now.minus(Duration::from_millis(rng.random_range(0..900)));
    let failed = state.bad_release && rng.random_bool(0.35);
    let bank = if failed { Duration::from_millis(rng.random_range(2_000..2_300)) } else { Duration::from_millis(rng.random_range(20..90)) };
    let inside = Duration::from_millis(rng.random_range(4..15));
    let root =
        span(&Call { trace: &trace, parent: &[], name: "POST /checkout", kind: SERVER, start, duration: bank + inside * 3, failed }, rng);
    let called = span(
        &Call {
            trace: &trace,
            parent: &root.span_id,
            name: "POST /orders",
            kind: SERVER,
            start: start.plus(inside),
            duration: bank + inside,
            failed,
        },
        rng,
    );
    let stock = span(
        &Call {
            trace: &trace,
            parent: &called.span_id,
            name: "POST /reserve",
            kind: SERVER,
            start: start.plus(inside),
            duration: inside,
            failed: false,
        },
        rng,
    );
    let outgoing = span(
        &Call {
            trace: &trace,
            parent: &called.span_id,
            name: "POST payments",
            kind: CLIENT,
            start: start.plus(inside),
            duration: bank,
            failed,
        },
        rng,
    );
    let mut charge = span(
        &Call {
            trace: &trace,
            parent: &outgoing.span_id,
            name: "POST /charges",
            kind: SERVER,
            start: start.plus(inside),
            duration: bank,
            failed,
        },
        rng,
    );
    if failed {
        let at = start.plus(bank);
        let message =
            format!("no answer from bank-{} within 2.0 s for charge {:06x}", rng.random_range(1..9), rng.random_range(0..0xFF_FFFF));
        charge.events.push(Event {
            time_unix_nano: at.nanos().unsigned_abs(),
            name: "exception".to_owned(),
            attributes: vec![
                pair("exception.type", "BankTimeout"),
                pair("exception.message", &message),
                pair("exception.stacktrace", STACK),
            ],
            ..Event::default()
        });
        failures.push(LogRecord {
            time_unix_nano: at.nanos().unsigned_abs(),
            severity_number: 17,
            severity_text: "ERROR".to_owned(),
            body: Some(text(&format!("charge failed: {message}"))),
            trace_id: trace.to_vec(),
            span_id: charge.span_id.clone(),
            ..LogRecord::default()
        });
    }
    push(by_service, "storefront", root);
    push(by_service, "checkout", called);
    push(by_service, "checkout", outgoing);
    push(by_service, "inventory", stock);
    push(by_service, "payments", charge);
}

fn search(now: Timestamp, rng: &mut StdRng, by_service: &mut ByService<'_>) {
    let trace: [u8; 16] = rng.random();
    let start = now.minus(Duration::from_millis(rng.random_range(0..900)));
    let duration = Duration::from_millis(rng.random_range(5..60));
    let root = span(&Call { trace: &trace, parent: &[], name: "GET /search", kind: SERVER, start, duration, failed: false }, rng);
    push(by_service, "search", root);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn errors(emission: &Emission, service: &str) -> (usize, usize) {
        let mut counts = (0, 0);
        for resource in &emission.spans {
            let name = resource.resource.as_ref().and_then(|resource| resource.attributes.first()).and_then(|pair| pair.value.clone());
            if name == Some(text(service)) {
                for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                    counts.0 += 1;
                    counts.1 += usize::from(span.status.as_ref().is_some_and(|status| status.code == 2));
                }
            }
        }
        counts
    }

    #[test]
    fn the_bad_release_breaks_checkout_and_only_what_stands_behind_it() {
        let mut rng = StdRng::seed_from_u64(7);
        let now = Timestamp::from_secs(1_800_000_000);
        let well = slice(now, 100, ShopState::default(), &mut rng);
        assert_eq!(errors(&well, "checkout").1, 0);
        assert!(well.logs.is_empty());
        let broken = slice(now, 100, ShopState { bad_release: true, scaled_up: true }, &mut rng);
        let (all, failed) = errors(&broken, "checkout");
        assert_eq!(all, 300);
        assert!(failed > 60 && failed < 150, "{failed}");
        assert_eq!(errors(&broken, "search").1, 0);
        assert!(!broken.logs.is_empty());
    }
}
