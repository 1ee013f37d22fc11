//! Transactions: a root span and the spans below it. Statuses follow OpenTelemetry's conventions, so that error rates mean the same
//! for both: what a client did wrong is no error of the server.

use std::borrow::Cow;

use super::event::{Event, SpanPart};
use super::{Said, id};
use crate::admission::Full;
use crate::errors::normalize;
use crate::record::{Attribute, Attributes, Resource, Span, Text, Value};
use crate::rows::Builder;

/// OTLP's kinds of spans.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;
/// OTLP's statuses.
const UNSET: i32 = 0;
const OK: i32 = 1;
const ERROR: i32 = 2;
/// The longest first word of a statement or request that becomes a name.
const MAX_VERB: usize = 16;

/// The resource that an event came from.
pub(super) fn resource<'a>(event: &Event<'a>, said: &Said<'_>, to: &Builder<'a, '_>) -> Resource<'a> {
    let mut list = vec![Attribute::text("service.name", said.service(to.arrival()).into_owned())];
    let mut add = |key: &'static str, value: &Text<'a>| {
        if !value.is_empty() {
            list.push(Attribute::text(key, value.clone()));
        }
    };
    add("service.version", &event.release.0);
    add("deployment.environment.name", &event.environment.0);
    add("host.name", &event.server_name.0);
    if let Some(sdk) = &event.sdk.0 {
        add("telemetry.sdk.name", &sdk.name.0);
        add("telemetry.sdk.version", &sdk.version.0);
    }
    Resource { attributes: list.into(), ..Resource::default() }
}

/// Adds the spans of a transaction.
pub(super) fn store<'a>(mut event: Event<'a>, said: &Said<'_>, to: &mut Builder<'a, '_>) -> Result<(), Full> {
    let resource = resource(&event, said, to);
    to.enter_resource(resource);
    to.tally().sentry.id = said.event_id(&event.event_id);
    let limit = to.arrival().limits.attributes;
    let parts = std::mem::take(&mut event.spans.0);
    let mut root = root(event, said, limit);
    let trace_id = root.trace_id.clone();
    to.span(&mut root)?;
    for part in parts {
        let mut span = child(part, said, limit);
        if span.trace_id.is_empty() {
            span.trace_id = trace_id.clone();
        }
        to.span(&mut span)?;
    }
    Ok(())
}

fn root<'a>(event: Event<'a>, said: &Said<'_>, limit: usize) -> Span<'a> {
    let contexts = event.contexts.0.unwrap_or_default();
    let trace = contexts.trace.0.unwrap_or_default();
    let mut attributes = Attributes::default();
    let mut add = |attribute: Attribute<'a>| {
        if attribute.value != Value::default() {
            attributes.push(attribute, limit);
        }
    };
    add(Attribute::text("sentry.op", trace.op.0.clone()));
    add(Attribute::text("sentry.origin", trace.origin.0));
    add(Attribute::text("sentry.status", trace.status.0.clone()));
    if let Some(request) = event.request.0 {
        add(Attribute::text("http.request.method", request.method.0));
        add(Attribute::text("url.full", request.url.0));
    }
    if let Some(status) = contexts.response.0.and_then(|response| response.status_code.0) {
        add(Attribute { key: "http.response.status_code".into(), value: Value::Int(status as i64) });
    }
    if let Some(user) = event.user.0 {
        add(Attribute::text("user.id", user.id.0));
    }
    let kind = kind(&trace.op, &trace.data.0.text("otel.kind"));
    trace.data.0.list.into_iter().chain(event.tags.0.list).for_each(&mut add);
    for mut measurement in event.measurements.0 {
        measurement.key = Cow::Owned(format!("sentry.measurements.{}", measurement.key));
        add(measurement);
    }
    let (status, status_message) = status(trace.status.0, kind);
    let name = if event.transaction.is_empty() { trace.op.0 } else { event.transaction.0 };
    Span {
        trace_id: id(&trace.trace_id).into(),
        span_id: id(&trace.span_id).into(),
        parent_span_id: id(&trace.parent_span_id).into(),
        name: if name.is_empty() { "transaction".into() } else { name },
        kind,
        start: said.time(event.start_timestamp.0),
        end: said.time(event.timestamp.0),
        attributes,
        status,
        status_message,
        sample_rate: said.sample_rate,
        ..Span::default()
    }
}

fn child<'a>(part: SpanPart<'a>, said: &Said<'_>, limit: usize) -> Span<'a> {
    let kind = kind(&part.op, &part.data.0.text("otel.kind"));
    let name = name(&part.op, &part.description.0, &part.data.0.text("db.collection.name"));
    let mut attributes = Attributes::default();
    let mut add = |attribute: Attribute<'a>| {
        if attribute.value != Value::default() {
            attributes.push(attribute, limit);
        }
    };
    if name != part.description.0 {
        let key = if part.op.starts_with("db") { "db.query.text" } else { "sentry.description" };
        add(Attribute::text(key, part.description.0));
    }
    add(Attribute::text("sentry.op", part.op.0));
    add(Attribute::text("sentry.origin", part.origin.0));
    add(Attribute::text("sentry.status", part.status.0.clone()));
    part.data.0.list.into_iter().chain(part.tags.0.list).for_each(&mut add);
    let (status, status_message) = status(part.status.0, kind);
    Span {
        trace_id: id(&part.trace_id).into(),
        span_id: id(&part.span_id).into(),
        parent_span_id: id(&part.parent_span_id).into(),
        name,
        kind,
        start: said.time(part.start_timestamp.0),
        end: said.time(part.timestamp.0),
        attributes,
        status,
        status_message,
        sample_rate: said.sample_rate,
        ..Span::default()
    }
}

/// What the operation does, unless the SDK says it in OpenTelemetry's words.
fn kind(op: &str, said: &str) -> i32 {
    match said {
        "INTERNAL" => return INTERNAL,
        "SERVER" => return SERVER,
        "CLIENT" => return CLIENT,
        "PRODUCER" => return PRODUCER,
        "CONSUMER" => return CONSUMER,
        _ => {}
    }
    match op {
        "http.server" | "rpc.server" | "grpc.server" | "websocket.server" => SERVER,
        "queue.publish" | "queue.submit.celery" => PRODUCER,
        "queue.process" | "queue.task.celery" => CONSUMER,
        _ if op.ends_with(".client") || op == "db" || op.starts_with("db.") || op.starts_with("cache.") => CLIENT,
        _ => INTERNAL,
    }
}

/// A name that does not differ with every call: statements and requests by their verb, all else without what varies.
fn name<'a>(op: &str, description: &Text<'a>, collection: &str) -> Text<'a> {
    if description.is_empty() {
        return if op.is_empty() { "span".into() } else { op.to_owned().into() };
    }
    let first = description.split_whitespace().next().unwrap_or("");
    let verb = (first.len() <= MAX_VERB && first.bytes().all(|byte| byte.is_ascii_alphabetic())).then(|| first.to_ascii_uppercase());
    match verb {
        Some(verb) if op == "db" || op.starts_with("db.") => match collection {
            "" => verb.into(),
            collection => format!("{verb} {collection}").into(),
        },
        Some(verb) if op.starts_with("http") && verb == first => verb.into(),
        _ => match normalize(description) {
            same if same == *description => description.clone(),
            normalized => normalized.into(),
        },
    }
}

/// OTLP's status and its message.
fn status<'a>(status: Text<'a>, kind: i32) -> (i32, Text<'a>) {
    let by_the_client = matches!(
        &*status,
        "cancelled"
            | "invalid_argument"
            | "not_found"
            | "already_exists"
            | "permission_denied"
            | "resource_exhausted"
            | "failed_precondition"
            | "aborted"
            | "out_of_range"
            | "unauthenticated"
    );
    match &*status {
        "" | "unset" | "unknown" => (UNSET, Text::default()),
        "ok" => (OK, Text::default()),
        _ if by_the_client && kind == SERVER => (UNSET, Text::default()),
        _ => (ERROR, status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_differ_with_every_call() {
        for (op, description, collection, expected) in [
            ("db", "SELECT * FROM orders WHERE id = %s", "", "SELECT"),
            ("db.sql.query", "insert into orders values (1)", "orders", "INSERT orders"),
            ("db.redis", "GET 'user:17'", "", "GET"),
            ("http.client", "GET https://bank.example/v1/orders/17?x=1", "", "GET"),
            ("http.client", "https://bank.example/v1/orders/17", "", "<url>"),
            ("cache.get", "user:17", "", "user:<num>"),
            ("function", "charge", "", "charge"),
            ("function", "", "", "function"),
            ("", "", "", "span"),
        ] {
            assert_eq!(name(op, &description.into(), collection), expected, "{op} {description}");
        }
    }

    #[test]
    fn kinds_and_statuses_are_those_of_opentelemetry() {
        for (op, said, expected) in [
            ("http.server", "", SERVER),
            ("http.client", "", CLIENT),
            ("grpc.client", "", CLIENT),
            ("db.sql.query", "", CLIENT),
            ("dbx", "", INTERNAL),
            ("queue.publish", "", PRODUCER),
            ("queue.process", "", CONSUMER),
            ("function", "", INTERNAL),
            ("default", "SERVER", SERVER),
            ("", "nonsense", INTERNAL),
        ] {
            assert_eq!(kind(op, said), expected, "{op} {said}");
        }
        for (word, kind, expected) in [
            ("ok", SERVER, OK),
            ("", SERVER, UNSET),
            ("internal_error", SERVER, ERROR),
            ("not_found", SERVER, UNSET),
            ("not_found", CLIENT, ERROR),
            ("deadline_exceeded", SERVER, ERROR),
            ("error", INTERNAL, ERROR),
        ] {
            assert_eq!(status(word.into(), kind).0, expected, "{word} {kind}");
        }
    }
}
