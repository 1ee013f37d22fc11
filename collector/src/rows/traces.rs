//! Spans: rows of `spans`, derived series, and the errors of their exception events.

use super::attributes::{cut, push_row, tidy};
use super::tally::{Part, Reason};
use super::{Builder, Window, nanos};
use crate::admission::Full;
use crate::errors::event::{Exception, Raised, Source};
use crate::record::Span;

/// The start of a span that can be stored.
fn check(span: &Span<'_>, window: Window) -> Result<i64, Reason> {
    let valid = |id: &[u8], length: usize| id.len() == length && id.iter().any(|byte| *byte != 0);
    match () {
        () if !valid(&span.trace_id, 16) => Err(Reason::BadTraceId),
        () if !valid(&span.span_id, 8) => Err(Reason::BadSpanId),
        () if !matches!(span.parent_span_id.len(), 0 | 8) => Err(Reason::BadParentSpanId),
        () => window.check(span.start),
    }
}

impl<'a> Builder<'a, '_> {
    /// Adds a span.
    pub(crate) fn span(&mut self, span: &mut Span<'a>) -> Result<(), Full> {
        self.count()?;
        match check(span, self.windows.spans) {
            Err(reason) => self.tally.reject(reason, 1),
            Ok(ts) => self.span_row(span, ts),
        }
        Ok(())
    }

    fn span_row(&mut self, span: &mut Span<'a>, ts: i64) {
        let (limits, tally, to) = (self.arrival.limits, &mut self.tally, &mut self.spans);
        let name = cut(std::mem::take(&mut span.name), limits.name, Part::Name, tally);
        let kind = u8::try_from(span.kind).ok().filter(|kind| *kind <= 5).unwrap_or(0);
        let status = u8::try_from(span.status).ok().filter(|status| *status <= 2).unwrap_or(0);
        let duration = span.end.saturating_sub(span.start);
        tidy(&mut span.attributes, limits, tally);
        to.ts.push(ts);
        to.received.push(self.arrival.at.millis());
        to.trace_id.push(&span.trace_id);
        to.span_id.push(&span.span_id);
        to.parent_span_id.push(&span.parent_span_id);
        to.trace_state.push(cut(span.trace_state.as_ref(), limits.value, Part::Value, tally).as_bytes());
        to.name.push(name.as_bytes());
        to.kind.push(kind);
        to.duration.push(duration);
        to.status.push(status);
        to.status_message.push(cut(span.status_message.as_ref(), limits.text, Part::Text, tally).as_bytes());
        push_row(&mut to.attributes, &span.attributes.list);
        to.flags.push(span.flags);
        to.sample_rate.push(if span.sample_rate > 0 { span.sample_rate } else { sample_rate(&span.trace_state) });
        to.retention_days.push(limits.retention.spans);
        let of = (self.resource.serial, self.scope.serial);
        if self.span_of == of {
            to.tenant.repeat();
            to.service.repeat();
            to.resource.repeat_row();
            to.scope_name.repeat();
            to.scope_version.repeat();
            to.scope_attributes.repeat_row();
        } else {
            to.tenant.push(self.arrival.tenant.as_str().as_bytes());
            to.service.push(self.resource.service.as_bytes());
            push_row(&mut to.resource, &self.resource.attributes.list);
            to.scope_name.push(self.scope.name.as_bytes());
            to.scope_version.push(self.scope.version.as_bytes());
            push_row(&mut to.scope_attributes, &self.scope.attributes.list);
            self.span_of = of;
        }
        to.dropped_attributes.push(span.dropped_attributes.saturating_add(span.attributes.cut));
        self.red.add(&self.resource.service, &name, kind, status, duration);
        self.span_events(span, &name, ts);
        self.span_links(span);
    }

    fn span_events(&mut self, span: &mut Span<'a>, name: &str, ts: i64) {
        let (limits, tally, to) = (self.arrival.limits, &mut self.tally, &mut self.spans);
        let kept = span.events.len().min(limits.events);
        let cut_events = span.cut_events as usize + span.events.len() - kept;
        tally.cut(Part::Event, cut_events);
        for (index, event) in span.events[..kept].iter_mut().enumerate() {
            let raised = Raised::in_event(&event.name, &event.attributes);
            tidy(&mut event.attributes, limits, tally);
            to.event_ts.items.push(nanos(event.time));
            to.event_name.items.push(cut(event.name.as_ref(), limits.name, Part::Name, tally).as_bytes());
            push_row(&mut to.event_attributes.items, &event.attributes.list);
            if let Some(raised) = raised {
                let exception = Exception {
                    source: Source::Span { index, name },
                    ts: event.time,
                    fallback_ts: ts,
                    service: &self.resource.service,
                    resource: &self.resource.attributes.list,
                    attributes: &event.attributes.list,
                    around: &span.attributes.list,
                    level: "error",
                    message: "",
                    scope: &self.scope.name,
                    trace_id: &span.trace_id,
                    span_id: &span.span_id,
                };
                self.errors.exception(&exception, &raised, tally);
            }
        }
        to.event_ts.end_row(kept);
        to.event_name.end_row(kept);
        to.event_attributes.end_row(kept);
        to.dropped_events.push(span.dropped_events.saturating_add(cut_events as u32));
    }

    fn span_links(&mut self, span: &mut Span<'a>) {
        let (limits, tally, to) = (self.arrival.limits, &mut self.tally, &mut self.spans);
        let kept = span.links.len().min(limits.links);
        let cut_links = span.cut_links as usize + span.links.len() - kept;
        tally.cut(Part::Link, cut_links);
        for link in &mut span.links[..kept] {
            tidy(&mut link.attributes, limits, tally);
            to.link_trace_id.items.push(&link.trace_id);
            to.link_span_id.items.push(&link.span_id);
            to.link_trace_state.items.push(cut(link.trace_state.as_ref(), limits.value, Part::Value, tally).as_bytes());
            push_row(&mut to.link_attributes.items, &link.attributes.list);
        }
        to.link_trace_id.end_row(kept);
        to.link_span_id.end_row(kept);
        to.link_trace_state.end_row(kept);
        to.link_attributes.end_row(kept);
        to.dropped_links.push(span.dropped_links.saturating_add(cut_links as u32));
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
