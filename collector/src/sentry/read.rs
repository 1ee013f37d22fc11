//! From an envelope to records. In: the body, inflated. Out: rows in the builder. One item after the other is parsed, once, borrowing
//! from the body. Fails: broken framing, or an item that is to be stored and is not JSON; then nothing of the envelope is.

use std::borrow::Cow;

use model::sink::RequestHash;
use serde::Deserialize;

use super::Endpoint;
use super::counts::Counts;
use super::envelope::{Broken, Header, Item, line, open};
use super::event::{CheckIn, ClientReport, Event, Logs, Session, Sessions};
use super::items::ItemKind;
use super::loose::{Maybe, Str};
use super::{faults, logs, spans};
use crate::decode::DecodeError;
use crate::pipeline::sampling::MOST;
use crate::rows::tally::Part;
use crate::rows::{Arrival, Builder};

/// A sender's clock that is this wrong is put right, in nanoseconds: one hour.
const DRIFT: i64 = 3_600_000_000_000;

/// What the request says of all its items.
pub(super) struct Said<'h> {
    project: u64,
    event_id: &'h str,
    /// Nanoseconds to add to the sender's times.
    shift: i64,
    /// How many traces one stands for; 0 where unknown.
    pub(super) sample_rate: u32,
}

impl<'h> Said<'h> {
    fn new(project: u64, header: &'h Header<'_>, arrival: Arrival<'_>) -> Self {
        let sent = i64::try_from(header.sent_at.0).unwrap_or(0);
        let late = arrival.at.nanos().saturating_sub(sent);
        let shift = if sent > 0 && late.abs() >= DRIFT { late } else { 0 };
        let kept = header.trace.0.as_ref().and_then(|head| head.sample_rate.parse::<f64>().ok()).filter(|rate| *rate > 0.0 && *rate <= 1.0);
        let sample_rate = kept.map_or(0, |kept| (1.0 / kept).round().min(MOST) as u32);
        Said { project, event_id: &header.event_id, shift, sample_rate }
    }
    /// The service of the project.
    pub(super) fn service<'r>(&self, arrival: Arrival<'r>) -> Cow<'r, str> {
        let named = arrival.limits.projects.get(&self.project);
        named.map_or_else(|| Cow::Owned(format!("project-{}", self.project)), |name| Cow::Borrowed(name.as_str()))
    }
    /// A time of the sender's as nanoseconds on a right clock; 0 stays unknown.
    pub(super) fn time(&self, nanos: u64) -> u64 {
        if nanos == 0 { 0 } else { nanos.saturating_add_signed(self.shift) }
    }
    /// The id that an event names, or that of the envelope.
    pub(super) fn event_id(&self, own: &str) -> Option<[u8; 16]> {
        [own, self.event_id].into_iter().find_map(|text| uuid::Uuid::parse_str(text).ok()).map(uuid::Uuid::into_bytes)
    }
}

/// An id in hex; empty where it is none.
pub(super) fn id(text: &Str<'_>) -> Vec<u8> {
    hex::decode(&*text.0).unwrap_or_default()
}

/// What names an event inside of an item.
const NAMED: &[u8] = b"\"event_id\"";

/// The hash by which a request is known again. SDKs that kept an envelope while they were offline send it with another `sent_at`:
/// where there is an event id, it and the items count, not the header around them. `None` where nothing in the envelope tells it from
/// another one with the same items: a script that reports each minute that its job ran sends the same bytes each minute.
pub(crate) fn request_hash(endpoint: Endpoint, project: u64, body: &[u8]) -> Option<RequestHash> {
    let (first, items) = line(body);
    let (event_id, sent) = match endpoint {
        Endpoint::Envelope => open(first).map(|(header, _)| (header.event_id.0, header.sent_at.0 > 0)).unwrap_or_default(),
        Endpoint::Store => (Cow::Borrowed(""), true),
    };
    match (&*event_id, sent) {
        ("", false) if !body.windows(NAMED.len()).any(|bytes| bytes == NAMED) => None,
        ("", _) => Some(RequestHash::of(&format!("sentry/{project}"), body)),
        (event_id, _) => Some(RequestHash::of(&format!("sentry/{project}/{event_id}"), items)),
    }
}

/// Reads a body into the builder's rows.
pub(crate) fn read<'a>(endpoint: Endpoint, project: u64, body: &'a [u8], to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let arrival = to.arrival();
    let mut counts = Counts::default();
    match endpoint {
        Endpoint::Store => {
            let header = Header::default();
            let said = Said::new(project, &header, arrival);
            store(&Item { number: 1, kind: Str("event".into()), payload: body }, &said, &mut counts, to)?;
        }
        Endpoint::Envelope => {
            let (header, items) = open(body).map_err(DecodeError::Sentry)?;
            let said = Said::new(project, &header, arrival);
            to.tally().cut(Part::SentryTime, usize::from(said.shift != 0));
            to.tally().sentry.id = said.event_id("");
            for item in items {
                store(&item.map_err(DecodeError::Sentry)?, &said, &mut counts, to)?;
            }
            counts.store(&said, to)?;
        }
    }
    Ok(())
}

/// Stores an item.
fn store<'a>(item: &Item<'a>, said: &Said<'_>, counts: &mut Counts, to: &mut Builder<'a, '_>) -> Result<(), DecodeError> {
    let kind = ItemKind::named(&item.kind);
    to.tally().sentry.count(kind);
    match kind {
        ItemKind::Event | ItemKind::Transaction => {
            let mut event: Event<'a> = parse(item, kind)?;
            if kind == ItemKind::Transaction || &*event.r#type == "transaction" {
                spans::store(event, said, to)?;
            } else {
                faults::store(&mut event, said, item.payload, to)?;
            }
        }
        // What is only counted costs no event beside it.
        ItemKind::Session => beside(parse(item, kind), to, |session: Session<'_>| counts.session(&session)),
        ItemKind::Sessions => beside(parse(item, kind), to, |sessions: Sessions<'_>| counts.session_aggregates(&sessions)),
        ItemKind::ClientReport => beside(parse(item, kind), to, |report: ClientReport<'_>| counts.client_report(&report)),
        ItemKind::CheckIn => {
            let now = to.arrival().at.secs_f64();
            counts.check_in(&parse::<CheckIn<'_>>(item, kind)?, now);
        }
        ItemKind::Log => logs::store(parse::<Logs<'a>>(item, kind)?, said, to)?,
        ItemKind::Attachment
        | ItemKind::Profile
        | ItemKind::Replay
        | ItemKind::Feedback
        | ItemKind::Span
        | ItemKind::Metric
        | ItemKind::Other => {}
    }
    Ok(())
}

/// Counts what an item says; one that is broken is left out and counted as cut.
fn beside<T>(item: Result<T, DecodeError>, to: &mut Builder<'_, '_>, count: impl FnOnce(T)) {
    match item {
        Ok(item) => count(item),
        Err(error) => {
            tracing::debug!(%error, "an item of an envelope is left out");
            to.tally().cut(Part::SentryItem, 1);
        }
    }
}

/// A payload, of which every field may be missing.
fn parse<'a, T: Deserialize<'a>>(item: &Item<'a>, kind: ItemKind) -> Result<T, DecodeError> {
    let (number, kind) = (item.number, kind.label());
    let broken = |error| DecodeError::Sentry(Broken::Payload { item: number, kind, error });
    let text = std::str::from_utf8(item.payload).map_err(|error| DecodeError::Sentry(Broken::Utf8 { item: number, kind, error }))?;
    let object = serde_json::from_str::<Maybe<T>>(text).map_err(broken)?;
    object.0.ok_or_else(|| broken(serde::de::Error::custom("another JSON value stands there")))
}
