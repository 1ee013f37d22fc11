//! Error events: an exception with what surrounds it in, a row of `error_events` out. The event id is made of what was sent,
//! so a resend is the same event. Pure.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use model::columns::TableBlock;
use model::fingerprint::{ErrorFacts, Fingerprint, FrameFacts, GROUPED_BY_TAG, Grouping, Rules, TITLE_TAG};
use xxhash_rust::xxh3::Xxh3;

use super::{Frame, fingerprint, normalize, parse, raised_kind, raised_message};
use crate::columns::ErrorColumns;
use crate::pipeline::redact::Counts;
use crate::record::{Attribute, Attributes, Text};
use crate::rows::attributes::{Pairs, cut, find, find_any};
use crate::rows::tally::{Part, Tally};
use crate::rows::{Arrival, Window, nanos};

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

/// What an exception itself says, taken from attributes before they are cut: a stack may be longer than an attribute may be.
pub(crate) struct Raised<'a> {
    kind: Text<'a>,
    message: Text<'a>,
    stack: Text<'a>,
}

impl<'a> Raised<'a> {
    /// Of a span event, if it is an exception.
    pub(crate) fn in_event(name: &str, attributes: &Attributes<'a>) -> Option<Self> {
        let raised = Raised::of(attributes);
        (name == "exception" || !raised.kind.is_empty()).then_some(raised)
    }
    /// Of a log record, if it carries an exception.
    pub(crate) fn in_log(attributes: &Attributes<'a>) -> Option<Self> {
        // Most records carry none: one look at each key tells.
        if !attributes.list.iter().any(|attribute| attribute.key.starts_with("exception.")) {
            return None;
        }
        let raised = Raised::of(attributes);
        (!raised.kind.is_empty() || !raised.message.is_empty()).then_some(raised)
    }
    fn of(attributes: &Attributes<'a>) -> Self {
        let get = |key| attributes.get(key).cloned().unwrap_or_default().into_text();
        Raised { kind: get(OWN[2]), message: get(OWN[0]), stack: get(OWN[1]) }
    }
}

/// What surrounds an exception. Attributes are tidy.
pub(crate) struct Exception<'e> {
    /// Where it was found.
    pub(crate) source: Source<'e>,
    /// When, in nanoseconds as sent.
    pub(crate) ts: u64,
    /// The stored time of the span or record, for when `ts` cannot be stored.
    pub(crate) fallback_ts: i64,
    /// The service.
    pub(crate) service: &'e str,
    /// The attributes of the resource.
    pub(crate) resource: &'e [Attribute<'e>],
    /// The attributes of the event or record.
    pub(crate) attributes: &'e [Attribute<'e>],
    /// The attributes of the span around it.
    pub(crate) around: &'e [Attribute<'e>],
    /// fatal, error, warning, info or debug.
    pub(crate) level: &'e str,
    /// The message where no attribute gives one.
    pub(crate) message: &'e str,
    /// The instrumentation scope, of a log record the logger.
    pub(crate) scope: &'e str,
    /// 16 bytes or none.
    pub(crate) trace_id: &'e [u8],
    /// 8 bytes or none.
    pub(crate) span_id: &'e [u8],
}

/// An error event as it is stored, whatever protocol it came by. Texts are within the limits.
pub(crate) struct ErrorEvent<'e> {
    /// The service or project.
    pub(crate) project: &'e str,
    /// What groups it, unless a rule of the configuration says otherwise.
    pub(crate) fingerprint: u64,
    /// How it was grouped, where it was not by type, message and frames.
    pub(crate) grouped_by: Option<String>,
    /// When, in nanoseconds.
    pub(crate) ts: i64,
    /// Made by the sender, or of what was sent.
    pub(crate) event_id: [u8; 16],
    /// Value of `ERROR_SOURCES`.
    pub(crate) source: u8,
    /// The type of the exception.
    pub(crate) kind: &'e str,
    /// Its message.
    pub(crate) message: &'e str,
    /// The message without what differs between equal errors.
    pub(crate) normalized: &'e str,
    /// fatal, error, warning, info or debug.
    pub(crate) level: &'e str,
    /// The version of the service.
    pub(crate) release: &'e str,
    /// The environment.
    pub(crate) environment: &'e str,
    /// Who was affected.
    pub(crate) user: &'e str,
    /// 16 bytes or none.
    pub(crate) trace_id: &'e [u8],
    /// 8 bytes or none.
    pub(crate) span_id: &'e [u8],
    /// From the innermost call outwards.
    pub(crate) frames: &'e [Frame],
    /// The stack as text.
    pub(crate) stack: &'e str,
    /// What else is known, sorted by key, each key once.
    pub(crate) tags: &'e [(Cow<'e, str>, Cow<'e, str>)],
}

/// The error events of one request.
pub(crate) struct ErrorRows<'a> {
    arrival: Arrival<'a>,
    window: Window,
    rows: ErrorColumns,
    /// Secrets that were not redacted before: in events that came by another way than spans and log records.
    redacted: Counts,
    /// The configured rules of grouping.
    rules: Arc<Rules>,
    /// How often the same exception stood in the request: equal ones are different events.
    seen: HashMap<u128, u32>,
}

/// The attributes that carry the exception itself.
const OWN: [&str; 3] = ["exception.message", "exception.stacktrace", "exception.type"];

impl<'a> ErrorRows<'a> {
    /// No events yet.
    pub(crate) fn new(arrival: Arrival<'a>) -> Self {
        let window = arrival.window(arrival.limits.retention.errors);
        let (rows, redacted) = (ErrorColumns::reused(), Counts::default());
        ErrorRows { arrival, window, rows, redacted, rules: arrival.limits.rules(), seen: HashMap::new() }
    }

    /// The block.
    pub(crate) fn into_block(self) -> TableBlock {
        self.rows.into_block()
    }

    /// What was redacted in events themselves.
    pub(crate) fn redacted(&mut self) -> &mut Counts {
        &mut self.redacted
    }

    /// The time of an event as stored; `None` where it is outside what is kept.
    pub(crate) fn time(&self, unix_nano: u64) -> Option<i64> {
        self.window.check(unix_nano).ok()
    }

    /// Adds an event. Its texts are redacted here, whatever way they came. Who computes its fingerprint redacts before what that is
    /// made of ([`crate::rows::Builder::redact`]).
    pub(crate) fn push(&mut self, event: &ErrorEvent<'_>) {
        let Some(redactor) = &self.arrival.pipeline.redactor else { return self.push_clean(event) };
        let counts = &mut self.redacted;
        let mut clean = |text| redactor.redact(text, counts).map_or(Cow::Borrowed(text), Cow::Owned);
        let [project, kind, message, normalized, level] =
            [event.project, event.kind, event.message, event.normalized, event.level].map(&mut clean);
        let [release, environment, user, stack] = [event.release, event.environment, event.user, event.stack].map(&mut clean);
        let frames: Vec<Frame> = event
            .frames
            .iter()
            .map(|frame| Frame { function: clean(&frame.function).into_owned(), file: clean(&frame.file).into_owned(), ..frame.clone() })
            .collect();
        let mut tags: Vec<Attribute<'_>> =
            event.tags.iter().map(|(key, value)| Attribute::text(Cow::Borrowed(key.as_ref()), Cow::Borrowed(value.as_ref()))).collect();
        let grouped_by = event.grouped_by.as_deref().map(|words| clean(words).into_owned());
        redactor.attributes(&mut tags, counts);
        let tags: Pairs<'_> = tags.into_iter().map(|tag| (tag.key, tag.value.into_text())).collect();
        self.push_clean(&ErrorEvent {
            project: &project,
            kind: &kind,
            message: &message,
            normalized: &normalized,
            level: &level,
            release: &release,
            environment: &environment,
            user: &user,
            stack: &stack,
            frames: &frames,
            tags: &tags,
            grouped_by,
            ..*event
        });
    }

    /// Adds an event that holds no secrets any more, under the fingerprint that the rules decide on.
    fn push_clean(&mut self, event: &ErrorEvent<'_>) {
        let grouping = group(&self.rules, event);
        let to = &mut self.rows;
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.project.push(event.project.as_bytes());
        to.fingerprint.push(grouping.fingerprint.0);
        to.ts.push(event.ts);
        to.received.push(self.arrival.at.millis());
        to.event_id.push(&event.event_id);
        to.source.push(event.source);
        to.r#type.push(event.kind.as_bytes());
        to.value.push(event.message.as_bytes());
        to.normalized.push(event.normalized.as_bytes());
        to.level.push(event.level.as_bytes());
        to.release.push(event.release.as_bytes());
        to.environment.push(event.environment.as_bytes());
        to.user.push(event.user.as_bytes());
        to.trace_id.push(event.trace_id);
        to.span_id.push(event.span_id);
        for frame in event.frames {
            to.frames_function.items.push(frame.function.as_bytes());
            to.frames_file.items.push(frame.file.as_bytes());
            to.frames_line.items.push(frame.line);
            to.frames_in_app.items.push(u8::from(frame.in_app));
        }
        to.frames_function.end_row(event.frames.len());
        to.frames_file.end_row(event.frames.len());
        to.frames_line.end_row(event.frames.len());
        to.frames_in_app.end_row(event.frames.len());
        to.stack.push(event.stack.as_bytes());
        // Nobody but us says how an event was grouped.
        let own = |key: &str| key == GROUPED_BY_TAG || key == TITLE_TAG;
        let sent = event.tags.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).filter(|(key, _)| !own(key));
        let said = [(GROUPED_BY_TAG, grouping.grouped_by.as_deref()), (TITLE_TAG, grouping.title.as_deref())];
        let mut tags: Vec<(&str, &str)> = sent.chain(said.into_iter().filter_map(|(key, value)| Some((key, value?)))).collect();
        tags.sort_unstable_by_key(|(key, _)| *key);
        to.tags.push(tags);
        to.retention_days.push(self.arrival.limits.retention.errors);
    }

    /// Adds the event of an exception that OpenTelemetry recorded.
    pub(crate) fn exception(&mut self, exception: &Exception<'_>, raised: &Raised<'_>, tally: &mut Tally) {
        let limits = self.arrival.limits;
        let stack = cut(raised.stack.as_ref(), limits.text, Part::Text, tally);
        let message = if raised.message.is_empty() { exception.message } else { &raised.message };
        let message = cut(message, limits.text, Part::Text, tally);
        let kind = cut(raised.kind.as_ref(), limits.name, Part::Name, tally);
        let kind = if kind.is_empty() { "Error" } else { raised_kind(&stack, &kind) };
        let frames = parse(&stack);
        let normalized = normalize(raised_message(&stack, kind).unwrap_or(&message));
        let event_id = event_id(&mut self.seen, exception, kind, &message, &stack);
        let mut name = |text: Cow<'_, str>| cut(text, limits.name, Part::Name, tally).into_owned();
        let (release, environment, user) =
            (name(find(exception.resource, "service.version")), name(environment(exception.resource)), name(user(exception)));
        self.push(&ErrorEvent {
            project: exception.service,
            fingerprint: fingerprint(kind, &normalized, &frames, limits.frames),
            grouped_by: None,
            ts: self.window.check(exception.ts).unwrap_or(exception.fallback_ts),
            event_id: event_id.into_bytes(),
            source: match exception.source {
                Source::Span { .. } => 1,
                Source::Log => 2,
            },
            kind,
            message: &message,
            normalized: &normalized,
            level: exception.level,
            release: &release,
            environment: &environment,
            user: &user,
            trace_id: exception.trace_id,
            span_id: exception.span_id,
            frames: &frames,
            stack: &stack,
            tags: &tags(exception),
        });
    }

    /// About how many bytes its rows take.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes()
    }
}

/// How the rules group an event.
fn group(rules: &Rules, event: &ErrorEvent<'_>) -> Grouping {
    let computed = Fingerprint(event.fingerprint);
    let frames = event.frames.iter();
    let frames: Vec<FrameFacts<'_>> =
        frames.map(|frame| FrameFacts { function: &frame.function, file: &frame.file, in_app: frame.in_app }).collect();
    let facts = ErrorFacts {
        kind: event.kind,
        message: event.message,
        normalized: event.normalized,
        service: event.project,
        environment: event.environment,
        release: event.release,
        frames: &frames,
        computed,
    };
    let decided = rules.decide(&facts);
    let by_rule = decided.grouped_by.is_some();
    Grouping { grouped_by: if by_rule { decided.grouped_by } else { event.grouped_by.clone() }, ..decided }
}

/// The environment that a resource names.
pub(crate) fn environment<'p>(resource: &'p [Attribute<'_>]) -> Cow<'p, str> {
    find_any(resource, &["deployment.environment.name", "deployment.environment"])
}

/// Who was affected.
fn user<'e>(exception: &'e Exception<'_>) -> Cow<'e, str> {
    let keys = ["user.id", "enduser.id"];
    let places = [exception.attributes, exception.around, exception.resource];
    places.into_iter().map(|attributes| find_any(attributes, &keys)).find(|user| !user.is_empty()).unwrap_or(Cow::Borrowed(""))
}

/// The attributes beside the exception itself, with the span's name and the scope.
fn tags<'e>(exception: &'e Exception<'_>) -> Pairs<'e> {
    let beside = exception.attributes.iter().filter(|attribute| !OWN.contains(&attribute.key.as_ref()));
    let mut tags: Pairs<'e> = beside.map(|attribute| (Cow::Borrowed(attribute.key.as_ref()), attribute.value.text())).collect();
    let span = match exception.source {
        Source::Span { name, .. } => name,
        Source::Log => "",
    };
    for (key, value) in [("otel.scope.name", exception.scope), ("span.name", span)] {
        if !value.is_empty() && !tags.iter().any(|(known, value)| known == key && !value.is_empty()) {
            tags.push((Cow::Borrowed(key), Cow::Borrowed(&value[..value.floor_char_boundary(1_024)])));
        }
    }
    tags.sort_by(|a, b| a.0.cmp(&b.0));
    tags.dedup_by(|later, first| later.0 == first.0);
    tags
}

/// A UUID made of the exception itself and of how many equal ones stood before it in the request.
fn event_id(seen: &mut HashMap<u128, u32>, exception: &Exception<'_>, kind: &str, message: &str, stack: &str) -> uuid::Uuid {
    let mut hasher = Xxh3::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    let instance = find(exception.resource, "service.instance.id");
    for text in [exception.service, &instance, kind, message, stack] {
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
