//! `ExportTraceServiceRequest`.

use super::common::{Entered, Levels, push};
use super::{Bounds, Message, WireError};
use crate::decode::DecodeError;
use crate::record::{Event, Link, Span};
use crate::rows::Builder;

/// Reads a request into the builder's rows.
pub(crate) fn traces<'a>(body: &'a [u8], bounds: Bounds, to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let mut span = Span::default();
    let enter = |to: &mut Builder<'a, '_>, entered| {
        match entered {
            Entered::Resource(resource) => to.enter_resource(resource),
            Entered::Scope(scope) => to.enter_scope(scope),
        }
        Ok(())
    };
    let levels = Levels { names: ["ResourceSpans", "ScopeSpans", "Span"], bounds };
    levels.walk(body, to, enter, |to, message| {
        span.clear();
        read(message, bounds, &mut span)?;
        Ok(to.span(&mut span)?)
    })
}

fn read<'a>(mut message: Message<'a>, bounds: Bounds, span: &mut Span<'a>) -> Result<(), WireError> {
    while let Some(field) = message.next()? {
        match field.number {
            1 => span.trace_id = field.id()?,
            2 => span.span_id = field.id()?,
            3 => span.trace_state = field.text()?,
            4 => span.parent_span_id = field.id()?,
            5 => span.name = field.text()?,
            6 => span.kind = field.int32()?,
            7 => span.start = field.fixed64()?,
            8 => span.end = field.fixed64()?,
            9 => push(&mut span.attributes, bounds, field.message("KeyValue")?)?,
            10 => span.dropped_attributes = field.uint32()?,
            11 => {
                let event = event(field.message("Event")?, bounds)?;
                if span.events.len() < bounds.events {
                    span.events.push(event);
                } else {
                    span.cut_events = span.cut_events.saturating_add(1);
                }
            }
            12 => span.dropped_events = field.uint32()?,
            13 => {
                let link = link(field.message("Link")?, bounds)?;
                if span.links.len() < bounds.links {
                    span.links.push(link);
                } else {
                    span.cut_links = span.cut_links.saturating_add(1);
                }
            }
            14 => span.dropped_links = field.uint32()?,
            15 => status(field.message("Status")?, span)?,
            16 => span.flags = field.fixed32()?,
            _ => {}
        }
    }
    Ok(())
}

fn event<'a>(mut message: Message<'a>, bounds: Bounds) -> Result<Event<'a>, WireError> {
    let mut event = Event::default();
    while let Some(field) = message.next()? {
        match field.number {
            1 => event.time = field.fixed64()?,
            2 => event.name = field.text()?,
            3 => push(&mut event.attributes, bounds, field.message("KeyValue")?)?,
            4 => event.dropped = field.uint32()?,
            _ => {}
        }
    }
    Ok(event)
}

fn link<'a>(mut message: Message<'a>, bounds: Bounds) -> Result<Link<'a>, WireError> {
    let mut link = Link::default();
    while let Some(field) = message.next()? {
        match field.number {
            1 => link.trace_id = field.id()?,
            2 => link.span_id = field.id()?,
            3 => link.trace_state = field.text()?,
            4 => push(&mut link.attributes, bounds, field.message("KeyValue")?)?,
            5 => link.dropped = field.uint32()?,
            _ => {}
        }
    }
    Ok(link)
}

fn status<'a>(mut message: Message<'a>, span: &mut Span<'a>) -> Result<(), WireError> {
    while let Some(field) = message.next()? {
        match field.number {
            2 => span.status_message = field.text()?,
            3 => span.status = field.int32()?,
            _ => {}
        }
    }
    Ok(())
}
