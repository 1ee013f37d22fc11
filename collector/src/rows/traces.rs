//! Spans: rows of `spans`, derived series, and the errors of their exception events.

use std::borrow::Cow;

use super::attributes::{cut, push_row, tidy};
use super::tally::{Part, Reason};
use super::{Builder, Window, nanos};
use crate::admission::Full;
use crate::errors::event::{Exception, Raised, Source};
use crate::pipeline::rates::Flow;
use crate::pipeline::sampling::{State, whole};
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
        self.load.add(Flow::Spans);
        match check(span, self.windows.spans) {
            Err(reason) => {
                self.tally.reject(reason, 1);
                if let Some(stage) = &mut self.stage {
                    stage.rejected("span", || span.name.to_string(), reason.label());
                }
            }
            Ok(ts) => {
                if self.stage.as_mut().is_none_or(|stage| stage.span(span)) {
                    self.span_row(span, ts);
                }
            }
        }
        Ok(())
    }

    /// What is stored is decided first; what is derived is derived of all spans.
    fn span_row(&mut self, span: &mut Span<'a>, ts: i64) {
        let before = if span.sample_rate > 0 { f64::from(span.sample_rate) } else { State::of(&span.trace_state).weight() };
        let came_for = whole(before, &span.trace_id);
        let (stored, weight) = match self.stage.as_mut().map_or(Some(None), |stage| stage.sample_span(span, before)) {
            None => (false, 0),
            Some(None) => (true, came_for),
            Some(Some(kept)) => {
                span.trace_state = Cow::Owned(kept.trace_state);
                (true, kept.weight)
            }
        };
        let (limits, tally) = (self.arrival.limits, &mut self.tally);
        let name = cut(std::mem::take(&mut span.name), limits.name, Part::Name, tally);
        let kind = u8::try_from(span.kind).ok().filter(|kind| *kind <= 5).unwrap_or(0);
        let status = u8::try_from(span.status).ok().filter(|status| *status <= 2).unwrap_or(0);
        let duration = span.end.saturating_sub(span.start);
        tidy(&mut span.attributes, limits, tally);
        self.red.add(&self.resource.service, &name, kind, status, duration, came_for);
        let cut_events = span.events.len().saturating_sub(limits.events);
        span.events.truncate(limits.events);
        span.cut_events = span.cut_events.saturating_add(cut_events as u32);
        tally.cut(Part::Event, span.cut_events as usize);
        self.span_errors(span, &name, ts);
        if stored {
            self.push_span(span, &name, (kind, status, duration), ts, weight);
            self.span_events(span);
            self.span_links(span);
        }
    }

    fn push_span(&mut self, span: &Span<'a>, name: &str, (kind, status, duration): (u8, u8, u64), ts: i64, weight: u32) {
        let (limits, tally, to) = (self.arrival.limits, &mut self.tally, &mut self.spans);
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
        to.sample_rate.push(weight);
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
        to.resource_dropped_attributes.push(self.resource.dropped);
        to.scope_dropped_attributes.push(self.scope.dropped);
    }

    /// Tidies the events of a span and adds the errors among them, also where the span itself is not stored: errors are never sampled.
    fn span_errors(&mut self, span: &mut Span<'a>, name: &str, ts: i64) {
        let (limits, tally) = (self.arrival.limits, &mut self.tally);
        for (index, event) in span.events.iter_mut().enumerate() {
            let raised = Raised::in_event(&event.name, &event.attributes);
            tidy(&mut event.attributes, limits, tally);
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
    }

    fn span_events(&mut self, span: &Span<'a>) {
        let (limits, tally, to) = (self.arrival.limits, &mut self.tally, &mut self.spans);
        for event in &span.events {
            to.event_ts.items.push(nanos(event.time));
            to.event_name.items.push(cut(event.name.as_ref(), limits.name, Part::Name, tally).as_bytes());
            push_row(&mut to.event_attributes.items, &event.attributes.list);
            to.event_dropped_attributes.items.push(event.dropped.saturating_add(event.attributes.cut));
        }
        to.event_ts.end_row(span.events.len());
        to.event_name.end_row(span.events.len());
        to.event_attributes.end_row(span.events.len());
        to.event_dropped_attributes.end_row(span.events.len());
        to.dropped_events.push(span.dropped_events.saturating_add(span.cut_events));
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
            to.link_dropped_attributes.items.push(link.dropped.saturating_add(link.attributes.cut));
        }
        to.link_trace_id.end_row(kept);
        to.link_span_id.end_row(kept);
        to.link_trace_state.end_row(kept);
        to.link_attributes.end_row(kept);
        to.link_dropped_attributes.end_row(kept);
        to.dropped_links.push(span.dropped_links.saturating_add(cut_links as u32));
    }
}
