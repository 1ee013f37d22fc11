//! Spans: OTLP spans in; rows of `spans`, derived series and the errors of their exception events out. Pure but for the
//! memories of [`Arrival`].

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::red::Red;
use super::tally::{Part, Reason, Tally};
use super::text::{Pairs, borrowed, cut, find, find_any, pairs};
use super::{Arrival, Built, ResourceView, Window, nanos, scope_names};
use crate::columns::SpanColumns;
use crate::errors::event::{ErrorRows, Exception, Source};

/// The rows of a request.
pub(crate) fn build(request: &ExportTraceServiceRequest, arrival: Arrival<'_>) -> Built {
    let limits = arrival.limits;
    let (mut tally, mut spans, mut red, mut errors) =
        (Tally::default(), SpanColumns::default(), Red::new(arrival), ErrorRows::new(arrival));
    let window = arrival.window(limits.retention.spans);
    for of_resource in &request.resource_spans {
        let resource = ResourceView::new(of_resource.resource.as_ref(), limits, &mut tally);
        for of_scope in &of_resource.scope_spans {
            let scope = scope_names(of_scope.scope.as_ref(), limits, &mut tally);
            for span in &of_scope.spans {
                tally.records += 1;
                match check(span, window) {
                    Err(reason) => tally.reject(reason, 1),
                    Ok(ts) => {
                        let row = Row { span, ts, resource: &resource, scope: &scope, arrival };
                        row.push(&mut spans, &mut red, &mut errors, &mut tally);
                    }
                }
            }
        }
    }
    tally.red_overflow = red.overflow();
    let mut built = Built { tally, ..Built::default() };
    built.push(spans.into_block());
    red.finish(&mut built);
    built.push(errors.into_block());
    built
}

/// The start of a span that can be stored.
fn check(span: &Span, window: Window) -> Result<i64, Reason> {
    let valid = |id: &[u8], length: usize| id.len() == length && id.iter().any(|byte| *byte != 0);
    match () {
        () if !valid(&span.trace_id, 16) => Err(Reason::BadTraceId),
        () if !valid(&span.span_id, 8) => Err(Reason::BadSpanId),
        () if !matches!(span.parent_span_id.len(), 0 | 8) => Err(Reason::BadParentSpanId),
        () => window.check(span.start_time_unix_nano),
    }
}

struct Row<'a> {
    span: &'a Span,
    ts: i64,
    resource: &'a ResourceView<'a>,
    scope: &'a (String, String),
    arrival: Arrival<'a>,
}

impl Row<'_> {
    fn push(&self, to: &mut SpanColumns, red: &mut Red<'_>, errors: &mut ErrorRows<'_>, tally: &mut Tally) {
        let (span, limits) = (self.span, self.arrival.limits);
        let name = cut(span.name.as_str(), limits.name, Part::Name, tally);
        let kind = u8::try_from(span.kind).ok().filter(|kind| *kind <= 5).unwrap_or(0);
        let (status, message) = span.status.as_ref().map_or((0, ""), |status| (status.code, status.message.as_str()));
        let status = u8::try_from(status).ok().filter(|status| *status <= 2).unwrap_or(0);
        let duration = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
        let attributes = pairs(&span.attributes, limits, tally);
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.ts.push(self.ts);
        to.received.push(self.arrival.at.millis());
        to.trace_id.push(&span.trace_id);
        to.span_id.push(&span.span_id);
        to.parent_span_id.push(&span.parent_span_id);
        to.trace_state.push(cut(span.trace_state.as_str(), limits.value, Part::Value, tally).as_bytes());
        to.service.push(self.resource.service.as_bytes());
        to.name.push(name.as_bytes());
        to.kind.push(kind);
        to.duration.push(duration);
        to.status.push(status);
        to.status_message.push(cut(message, limits.text, Part::Text, tally).as_bytes());
        to.scope_name.push(self.scope.0.as_bytes());
        to.scope_version.push(self.scope.1.as_bytes());
        to.resource.push(borrowed(&self.resource.pairs));
        to.attributes.push(borrowed(&attributes));
        to.flags.push(span.flags);
        to.sample_rate.push(sample_rate(&span.trace_state));
        to.retention_days.push(limits.retention.spans);
        self.push_events(to, errors, &attributes, tally);
        self.push_links(to, tally);
        red.add(&self.resource.service, &name, kind, status, duration);
    }

    fn push_events(&self, to: &mut SpanColumns, errors: &mut ErrorRows<'_>, attributes: &Pairs<'_>, tally: &mut Tally) {
        let limits = self.arrival.limits;
        let kept = self.span.events.len().min(limits.events);
        tally.cut(Part::Event, self.span.events.len() - kept);
        for (index, event) in self.span.events[..kept].iter().enumerate() {
            let name = cut(event.name.as_str(), limits.name, Part::Name, tally);
            let pairs = pairs(&event.attributes, limits, tally);
            to.event_ts.items.push(nanos(event.time_unix_nano));
            to.event_name.items.push(name.as_bytes());
            to.event_attributes.items.push(borrowed(&pairs));
            if name == "exception" || !find(&pairs, "exception.type").is_empty() {
                let exception = Exception {
                    source: Source::Span { index, name: &self.span.name },
                    ts: event.time_unix_nano,
                    fallback_ts: self.ts,
                    resource: self.resource,
                    attributes: &pairs,
                    around: Some(attributes),
                    level: "error",
                    message: "",
                    scope: &self.scope.0,
                    trace_id: &self.span.trace_id,
                    span_id: &self.span.span_id,
                };
                errors.push(&exception, &event.attributes, tally);
            }
        }
        to.event_ts.end_row(kept);
        to.event_name.end_row(kept);
        to.event_attributes.end_row(kept);
    }

    fn push_links(&self, to: &mut SpanColumns, tally: &mut Tally) {
        let limits = self.arrival.limits;
        let kept = self.span.links.len().min(limits.links);
        tally.cut(Part::Link, self.span.links.len() - kept);
        for link in &self.span.links[..kept] {
            to.link_trace_id.items.push(&link.trace_id);
            to.link_span_id.items.push(&link.span_id);
            to.link_trace_state.items.push(cut(link.trace_state.as_str(), limits.value, Part::Value, tally).as_bytes());
            to.link_attributes.items.push(borrowed(&pairs(&link.attributes, limits, tally)));
        }
        to.link_trace_id.end_row(kept);
        to.link_span_id.end_row(kept);
        to.link_trace_state.end_row(kept);
        to.link_attributes.end_row(kept);
    }
}

/// How many spans this one stands for, from the sampling threshold `ot=th:...` of its trace state (OpenTelemetry's
/// consistent probability sampling: 56 bits, trailing zeros left out); 1 where there is none.
fn sample_rate(trace_state: &str) -> u32 {
    let threshold = trace_state
        .split(',')
        .find_map(|member| member.trim().strip_prefix("ot="))
        .and_then(|value| value.split(';').find_map(|field| field.strip_prefix("th:")));
    let Some(digits) = threshold.filter(|digits| (1..=14).contains(&digits.len())) else {
        return 1;
    };
    let Ok(rejected) = u64::from_str_radix(&format!("{digits:0<14}"), 16) else {
        return 1;
    };
    let all = 1u64 << 56;
    // `as` saturates: a sender that keeps fewer than one in four billion counts as that.
    (all as f64 / (all - rejected).max(1) as f64).round() as u32
}

/// The environment that a resource names.
pub(crate) fn environment<'p>(resource: &'p Pairs<'_>) -> &'p str {
    find_any(resource, &["deployment.environment.name", "deployment.environment"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sampling_threshold_becomes_a_rate() {
        for (state, rate) in [
            ("", 1),
            ("ot=th:0", 1),
            ("ot=th:8", 2),
            ("vendor=x, ot=rv:abc;th:c", 4),
            ("ot=th:e6666666666666", 10),
            ("ot=th:zz", 1),
            ("ot=th:", 1),
            ("ot=th:123456789012345", 1),
        ] {
            assert_eq!(sample_rate(state), rate, "{state}");
        }
    }
}
