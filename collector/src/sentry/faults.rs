//! Errors and messages: rows of `error_events`. The raised exception is the last of a chain; grouping sees type, message and frames
//! as it does for OpenTelemetry's exceptions of the same crash, unless the SDK sent a fingerprint of its own.

use std::borrow::Cow;

use model::fingerprint::Fingerprint;

use super::Said;
use super::event::{Contexts, Event, Exception, Named, Stack};
use super::frames::{Calls, kind, language, text};
use crate::admission::Full;
use crate::errors::event::ErrorEvent;
use crate::errors::{Language, fingerprint, normalize, python_message};
use crate::record::{Attributes, Value};
use crate::rows::attributes::{Pairs, cut, tidy};
use crate::rows::tally::Part;
use crate::rows::{Builder, Limits};

/// The type of an event that is only a message.
const MESSAGE: &str = "Message";
/// Value of `ERROR_SOURCES`.
const SENTRY: u8 = 0;
/// The longest explanation of a fingerprint, in bytes.
const MAX_EXPLANATION: usize = 512;

/// What is grouped.
struct Kind<'e> {
    kind: Cow<'e, str>,
    message: &'e str,
    normalized: String,
    computed: u64,
    calls: Calls,
}

/// Adds an event.
pub(super) fn store<'a>(event: &mut Event<'a>, said: &Said<'_>, payload: &[u8], to: &mut Builder<'a, '_>) -> Result<(), Full> {
    let (arrival, limits) = (to.arrival(), to.arrival().limits);
    if event.logentry.text().is_empty() {
        event.logentry = std::mem::take(&mut event.older_logentry);
    }
    event.exception.0.iter_mut().for_each(|raised| to.redact(&mut raised.value.0));
    for message in [&mut event.message, &mut event.logentry] {
        to.redact(&mut message.message);
        to.redact(&mut message.formatted);
    }
    let mut attributes = attributes(event, limits);
    tidy(&mut attributes, limits, to.tally());
    let mut tags: Pairs<'_> = attributes.list.iter().map(|tag| (Cow::Borrowed(&*tag.key), tag.value.text())).collect();
    tags.sort_by(|a, b| a.0.cmp(&b.0));
    tags.dedup_by(|later, first| later.0 == first.0);
    let Kind { kind, message, normalized, computed, calls } = kind_of(event, limits);
    let chosen = chosen(event, &kind, message, &calls, computed);
    let id = said.event_id(&event.event_id).unwrap_or_else(|| xxhash_rust::xxh3::xxh3_128(payload).to_be_bytes());
    let ts = to.error_time(said.time(event.timestamp.0));
    let stack = text(&event.exception.0, &event.platform, limits.text);
    let tally = to.tally();
    tally.sentry.id = Some(id);
    let mut name = |text: &str| cut(text, limits.name, Part::Name, tally).into_owned();
    let (kind, release, environment) = (name(&kind), name(&event.release), name(&event.environment));
    let user = name(event.user.0.as_ref().map_or("", |user| {
        let names = [&user.id, &user.username, &user.email, &user.ip_address];
        names.into_iter().find(|name| !name.is_empty() && !name.starts_with("{{")).map_or("", |name| name)
    }));
    let (trace_id, span_id) = trace(event.contexts.0.as_ref());
    let (message, stack) = (cut(message, limits.text, Part::Text, tally), cut(stack, limits.text, Part::Text, tally));
    let project = said.service(arrival);
    to.error(&ErrorEvent {
        project: &project,
        fingerprint: chosen.as_ref().map_or(computed, |(fingerprint, _)| fingerprint.0),
        grouped_by: chosen.map(|(_, words)| words),
        ts,
        event_id: id,
        source: SENTRY,
        kind: &kind,
        message: &message,
        normalized: &normalized,
        level: level(&event.level),
        release: &release,
        environment: &environment,
        user: &user,
        trace_id: &trace_id,
        span_id: &span_id,
        frames: &calls.shown(),
        stack: &stack,
        tags: &tags,
    })
}

/// Type, message and frames of what was raised; of a message its template.
fn kind_of<'e>(event: &'e Event<'_>, limits: &Limits) -> Kind<'e> {
    let chain = &event.exception.0;
    let Some(raised) = chain.last() else {
        let message = if event.logentry.message.is_empty() { &event.message } else { &event.logentry };
        let normalized = normalize(&message.message);
        let computed = fingerprint(MESSAGE, &normalized, &[], limits.frames);
        let calls = Calls::of(other_stack(event), &event.platform);
        return Kind { kind: Cow::Borrowed(MESSAGE), message: message.text(), normalized, computed, calls };
    };
    let kind = kind(raised, &event.platform);
    let message = match language(&event.platform) {
        Some(Language::Python) => python_message(&kind, &raised.value),
        Some(Language::JavaScript) if &*raised.value == "No error message" => "",
        _ => &raised.value,
    };
    let calls = calls_of(event, raised);
    let normalized = normalize(message);
    let computed = fingerprint(&kind, &normalized, &calls.frames, limits.frames);
    Kind { kind, message: &raised.value, normalized, computed, calls }
}

/// The frames that stand for a chain, as they do where it comes as text: see `errors::parse`.
fn calls_of(event: &Event<'_>, raised: &Exception<'_>) -> Calls {
    let of = |exception: &Exception<'_>| Calls::of(exception.stacktrace.0.as_ref(), &event.platform);
    let is_group = raised.mechanism.0.as_ref().is_some_and(|mechanism| mechanism.is_exception_group.0 == Some(true));
    let root = event.exception.0.first().filter(|_| event.exception.0.len() > 1);
    let calls = of(raised);
    match (language(&event.platform), root.map(of)) {
        (Some(Language::Python), Some(root)) if is_group && !root.frames.is_empty() => root,
        (Some(Language::Java | Language::DotNet | Language::Php), Some(root)) if !calls.any_in_app() && !root.frames.is_empty() => root,
        _ if calls.frames.is_empty() => Calls::of(other_stack(event), &event.platform),
        _ => calls,
    }
}

/// The stack of an event whose exception has none: its own, or that of the thread that crashed.
fn other_stack<'e, 'a>(event: &'e Event<'a>) -> Option<&'e Stack<'a>> {
    let threads = &event.threads.0;
    let crashed = threads.iter().find(|thread| thread.crashed.0 == Some(true));
    let thread = crashed.or_else(|| threads.iter().find(|thread| thread.current.0 == Some(true))).or(threads.first());
    event.stacktrace.0.as_ref().or_else(|| thread.and_then(|thread| thread.stacktrace.0.as_ref()))
}

/// The fingerprint that the SDK sent, with words for people; `None` where it leaves it to us.
fn chosen(event: &Event<'_>, kind: &str, message: &str, calls: &Calls, computed: u64) -> Option<(Fingerprint, String)> {
    let parts = &event.fingerprint.0;
    let variable = |part: &str| part.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).map(|name| name.trim().to_owned());
    let is_default = |part: &str| variable(part).is_some_and(|name| name == "default");
    if parts.iter().all(|part| part.is_empty() || is_default(part)) {
        return None;
    }
    let top = calls.frames.iter().find(|frame| frame.in_app).or(calls.frames.first());
    let filled = |part: &str| match variable(part).as_deref() {
        None => part.to_owned(),
        Some("default") => Fingerprint(computed).to_string(),
        Some("type" | "error.type") => kind.to_owned(),
        Some("value" | "message" | "error.value") => message.to_owned(),
        Some("transaction") => event.transaction.to_string(),
        Some("level") => level(&event.level).to_owned(),
        Some("logger") => event.logger.to_string(),
        Some("function" | "stack.function") => top.map_or_else(String::new, |frame| frame.function.clone()),
        Some("path" | "stack.abs_path") => top.map_or_else(String::new, |frame| frame.file.clone()),
        Some(other) => other.strip_prefix("tags.").map_or_else(|| part.to_owned(), |tag| event.tags.0.text(tag).into_owned()),
    };
    let filled: Vec<String> = parts.iter().map(|part| filled(part)).collect();
    let mut words =
        format!("grouped by the fingerprint that the SDK sent: {}", parts.iter().map(|part| &**part).collect::<Vec<_>>().join(" · "));
    words.truncate(words.floor_char_boundary(MAX_EXPLANATION));
    Some((Fingerprint::of_parts(filled.iter().map(String::as_str)), words))
}

/// The level in the words of `error_events`. Python's older client sends the numbers of Python's levels.
fn level(level: &str) -> &'static str {
    match level {
        "fatal" | "critical" | "50" => "fatal",
        "warning" | "warn" | "30" => "warning",
        "info" | "log" | "20" => "info",
        "debug" | "trace" | "10" => "debug",
        _ => "error",
    }
}

/// Trace and span in which it happened; empty where there is none.
fn trace(contexts: Option<&Contexts<'_>>) -> (Vec<u8>, Vec<u8>) {
    let trace = contexts.and_then(|contexts| contexts.trace.0.as_ref());
    trace.map_or_else(Default::default, |trace| (super::id(&trace.trace_id), super::id(&trace.span_id)))
}

/// Tags of the event, then what the event says beside them; extra data last, so that it is what a limit cuts.
fn attributes<'a>(event: &mut Event<'a>, limits: &Limits) -> Attributes<'a> {
    let mut all = Attributes::default();
    for tag in std::mem::take(&mut event.tags.0.list) {
        all.push(tag, limits.attributes);
    }
    if !event.fingerprint.0.is_empty() {
        // It may name a tag.
        event.tags.0.list = all.list.clone();
    }
    let mut add = |key: &'static str, value: Cow<'a, str>| {
        if !value.is_empty() && all.get(key).is_none() {
            all.push(crate::record::Attribute::text(key, value), limits.attributes);
        }
    };
    let versioned = |named: Option<&Named<'a>>| {
        let named = named.filter(|named| !named.name.is_empty())?;
        Some(if named.version.is_empty() { named.name.0.clone() } else { Cow::Owned(format!("{} {}", &*named.name, &*named.version)) })
    };
    add("transaction", event.transaction.0.clone());
    add("server_name", event.server_name.0.clone());
    add("logger", event.logger.0.clone());
    add("platform", event.platform.0.clone());
    add("dist", event.dist.0.clone());
    add("sdk", versioned(event.sdk.0.as_ref()).unwrap_or_default());
    if let Some(mechanism) = event.exception.0.last().and_then(|raised| raised.mechanism.0.as_ref()) {
        add("mechanism", mechanism.r#type.0.clone());
        add("handled", mechanism.handled.0.map_or("", |handled| if handled { "yes" } else { "no" }).into());
    }
    if let Some(request) = &event.request.0 {
        add("url", request.url.0.clone());
        add("method", request.method.0.clone());
    }
    if let Some(contexts) = &event.contexts.0 {
        for (key, named) in [("runtime", &contexts.runtime), ("os", &contexts.os), ("browser", &contexts.browser)] {
            add(key, versioned(named.0.as_ref()).unwrap_or_default());
        }
        let device = contexts.device.0.as_ref();
        add(
            "device",
            device.map(|device| if device.model.is_empty() { device.family.0.clone() } else { device.model.0.clone() }).unwrap_or_default(),
        );
    }
    for mut extra in std::mem::take(&mut event.extra.0.list) {
        if extra.value != Value::default() {
            extra.key = Cow::Owned(format!("extra.{}", extra.key));
            all.push(extra, limits.attributes);
        }
    }
    all
}
