//! Error events: an exception with what surrounds it in, a row of `error_events` out. The event id is made of what was sent,
//! so a resend is the same event. Pure.

use std::borrow::Cow;
use std::collections::HashMap;

use model::columns::TableBlock;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use xxhash_rust::xxh3::Xxh3;

use super::{fingerprint, normalize, parse, raised_message};
use crate::columns::ErrorColumns;
use crate::rows::tally::{Part, Tally};
use crate::rows::text::{Pairs, borrowed, cut, find, find_any, value_text};
use crate::rows::traces::environment;
use crate::rows::{Arrival, ResourceView, Window, nanos};

/// Where an exception was found.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// The event with this index, in a span of this name.
    Span {
        /// Position among the span's events.
        index: usize,
        /// The span's name.
        name: &'a str,
    },
    /// A log record.
    Log,
}

/// An exception and what surrounds it.
pub(crate) struct Exception<'a> {
    /// Where it was found.
    pub(crate) source: Source<'a>,
    /// When, in nanoseconds as sent.
    pub(crate) ts: u64,
    /// The stored time of the span or record, for when `ts` cannot be stored.
    pub(crate) fallback_ts: i64,
    /// The resource.
    pub(crate) resource: &'a ResourceView<'a>,
    /// The attributes of the event or record.
    pub(crate) attributes: &'a Pairs<'a>,
    /// The attributes of the span around it.
    pub(crate) around: Option<&'a Pairs<'a>>,
    /// fatal, error, warning, info or debug.
    pub(crate) level: &'a str,
    /// The message where no attribute gives one.
    pub(crate) message: &'a str,
    /// The instrumentation scope, of a log record the logger.
    pub(crate) scope: &'a str,
    /// 16 bytes or none.
    pub(crate) trace_id: &'a [u8],
    /// 8 bytes or none.
    pub(crate) span_id: &'a [u8],
}

/// The error events of one request.
pub(crate) struct ErrorRows<'a> {
    arrival: Arrival<'a>,
    window: Window,
    rows: ErrorColumns,
    /// How often the same exception stood in the request: equal ones are different events.
    seen: HashMap<u128, u32>,
}

/// The attributes that carry the exception itself.
const OWN: [&str; 3] = ["exception.message", "exception.stacktrace", "exception.type"];

impl<'a> ErrorRows<'a> {
    /// No events yet.
    pub(crate) fn new(arrival: Arrival<'a>) -> Self {
        let window = arrival.window(arrival.limits.retention.errors);
        ErrorRows { arrival, window, rows: ErrorColumns::default(), seen: HashMap::new() }
    }

    /// The block.
    pub(crate) fn into_block(self) -> TableBlock {
        self.rows.into_block()
    }

    /// Adds an event. `raw` are the attributes as sent: a stack may be longer than an attribute value.
    pub(crate) fn push(&mut self, exception: &Exception<'_>, raw: &[KeyValue], tally: &mut Tally) {
        let limits = self.arrival.limits;
        let own = |key: &str| raw.iter().find(|attribute| attribute.key == key).map_or(Cow::Borrowed(""), |a| value_text(a.value.as_ref()));
        let stack = cut(own("exception.stacktrace"), limits.text, Part::Text, tally);
        let message = match own("exception.message") {
            text if text.is_empty() => Cow::Borrowed(exception.message),
            text => text,
        };
        let message = cut(message, limits.text, Part::Text, tally);
        let kind = cut(own("exception.type"), limits.name, Part::Name, tally);
        let kind = if kind.is_empty() { "Error" } else { kind.as_ref() };
        let frames = parse(&stack);
        let normalized = normalize(raised_message(&stack, kind).unwrap_or(&message));
        let resource = &exception.resource.pairs;
        let to = &mut self.rows;
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.project.push(exception.resource.service.as_bytes());
        to.fingerprint.push(fingerprint(kind, &normalized, &frames, limits.frames));
        to.ts.push(self.window.check(exception.ts).unwrap_or(exception.fallback_ts));
        to.received.push(self.arrival.at.millis());
        to.event_id.push(event_id(&mut self.seen, exception, kind, &message, &stack).as_bytes());
        to.source.push(match exception.source {
            Source::Span { .. } => 1,
            Source::Log => 2,
        });
        to.r#type.push(kind.as_bytes());
        to.value.push(message.as_bytes());
        to.normalized.push(normalized.as_bytes());
        to.level.push(exception.level.as_bytes());
        let mut name = |text: &str| cut(text, limits.name, Part::Name, tally).into_owned();
        to.release.push(name(find(resource, "service.version")).as_bytes());
        to.environment.push(name(environment(resource)).as_bytes());
        to.user.push(name(user(exception)).as_bytes());
        to.trace_id.push(exception.trace_id);
        to.span_id.push(exception.span_id);
        for frame in &frames {
            to.frames_function.items.push(frame.function.as_bytes());
            to.frames_file.items.push(frame.file.as_bytes());
            to.frames_line.items.push(frame.line);
            to.frames_in_app.items.push(u8::from(frame.in_app));
        }
        to.frames_function.end_row(frames.len());
        to.frames_file.end_row(frames.len());
        to.frames_line.end_row(frames.len());
        to.frames_in_app.end_row(frames.len());
        to.stack.push(stack.as_bytes());
        to.tags.push(borrowed(&tags(exception)));
        to.retention_days.push(limits.retention.errors);
    }
}

/// Who was affected.
fn user<'e>(exception: &'e Exception<'_>) -> &'e str {
    let keys = ["user.id", "enduser.id"];
    let places = [Some(exception.attributes), exception.around, Some(&exception.resource.pairs)];
    places.into_iter().flatten().map(|pairs| find_any(pairs, &keys)).find(|user| !user.is_empty()).unwrap_or("")
}

/// The attributes beside the exception itself, with the span's name and the scope.
fn tags<'e>(exception: &'e Exception<'_>) -> Pairs<'e> {
    let beside = exception.attributes.iter().filter(|(key, _)| !OWN.contains(&key.as_ref()));
    let mut tags: Pairs<'e> = beside.map(|(key, value)| (Cow::Borrowed(key.as_ref()), Cow::Borrowed(value.as_ref()))).collect();
    let span = match exception.source {
        Source::Span { name, .. } => name,
        Source::Log => "",
    };
    for (key, value) in [("otel.scope.name", exception.scope), ("span.name", span)] {
        if !value.is_empty() && find(&tags, key).is_empty() {
            tags.push((Cow::Borrowed(key), Cow::Borrowed(&value[..value.floor_char_boundary(1_024)])));
            tags.sort_by(|a, b| a.0.cmp(&b.0));
        }
    }
    tags
}

/// A UUID made of the exception itself and of how many equal ones stood before it in the request.
fn event_id(seen: &mut HashMap<u128, u32>, exception: &Exception<'_>, kind: &str, message: &str, stack: &str) -> uuid::Uuid {
    let mut hasher = Xxh3::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for text in [&exception.resource.service, find(&exception.resource.pairs, "service.instance.id"), kind, message, stack] {
        part(text.as_bytes());
    }
    part(exception.trace_id);
    part(exception.span_id);
    part(&nanos(exception.ts).to_le_bytes());
    match exception.source {
        Source::Span { index, .. } => part(&(index as u64).to_le_bytes()),
        Source::Log => part(b"log"),
    }
    let hash = hasher.digest128();
    let before = seen.entry(hash).or_insert(0);
    let id = hash.wrapping_add(u128::from(*before) << 64);
    *before += 1;
    uuid::Builder::from_custom_bytes(id.to_be_bytes()).into_uuid()
}
