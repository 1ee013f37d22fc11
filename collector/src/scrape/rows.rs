//! What a scrape becomes: rows of its samples, staleness markers of series that are gone, and the series that tell how it went.
//! In: the text or why there is none. Out: one batch, and what to remember once it is durable. A text with anything wrong is
//! stored as a whole or not at all. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::time::Timestamp;

use super::exposition::{self, Exposition, ExpositionError, Format, Sample, pairs};
use super::memory::{Alive, Described, Entry, LabelError, Labelling, Live, Memory};
use crate::admission::Full;
use crate::family::{Family, FamilyKind};
use crate::rows::named::Named;
use crate::rows::points::STALE_NAN;
use crate::rows::{Builder, Built};

/// What a job wants of its texts.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    /// How labels become those of stored series.
    pub(crate) labelling: Labelling,
    /// Whether times in the text count.
    pub(crate) honor_timestamps: bool,
    /// Whether series with times of their own get staleness markers.
    pub(crate) track_timestamps: bool,
    /// Most samples; 0 is no limit.
    pub(crate) sample_limit: u64,
    /// The timeout, where `extra_scrape_metrics` asks for more series about scrapes.
    pub(crate) extra: Option<Duration>,
}

/// A text that fails its scrape.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TextError {
    /// It is not of its format.
    #[error(transparent)]
    Exposition(#[from] ExpositionError),
    /// A series that cannot be.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// More samples than allowed.
    #[error("the target has more than {0} samples (sample_limit)")]
    TooManySamples(u64),
    /// No memory left.
    #[error("there is no memory left for its samples")]
    Full(Full),
}

impl From<Full> for TextError {
    fn from(full: Full) -> Self {
        TextError::Full(full)
    }
}

/// How many samples there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// In the text.
    pub(crate) scraped: u64,
    /// After relabelling.
    pub(crate) kept: u64,
    /// Of series that the scrape before did not have.
    pub(crate) added: u64,
}

/// Adds the samples of a text. Out: the series that now have samples; the counts also where it fails.
pub(crate) fn fill(
    text: &str,
    format: Format,
    at: Timestamp,
    wishes: &Wishes,
    memory: &mut Memory,
    counts: &mut Counts,
    to: &mut Builder<'_, '_>,
) -> Result<Live, TextError> {
    let (found, ended) = exposition::read(text, format);
    memory.begin();
    let entries = entries(&found, wishes, memory, counts);
    memory.tidy(found.samples.len());
    let entries = entries?;
    ended?;
    if wishes.sample_limit > 0 && counts.kept > wishes.sample_limit {
        return Err(TextError::TooManySamples(wishes.sample_limit));
    }
    let starts = if format == Format::OpenMetrics { starts(&found, &entries) } else { HashMap::new() };
    let families = families(&found, memory, to);
    counts.added = 0; // from here on only what is stored counts
    let (unknown, mut live) = (Arc::new(Family::default()), Live::with_capacity(memory.live.len()));
    for (sample, (entry, new)) in found.samples.iter().zip(&entries) {
        let Some(entry) = entry else { continue };
        let family = sample.family.and_then(|family| families.get(family)).unwrap_or(&unknown);
        let own_time = sample.at.filter(|_| wishes.honor_timestamps);
        let moment = own_time.unwrap_or(at.millis());
        let start = if family.kind.of_numbers(name(entry)).1 { starts.get(&entry.group).copied().unwrap_or(0) } else { 0 };
        let Some((labels, identity)) = to.processed(&entry.labels, entry.identity) else { continue };
        let series = Named { labels: &labels, identity, family };
        let stored = to.number(&series, moment, start, sample.value)?;
        if let Some(exemplar) = sample.exemplar.as_ref().filter(|_| stored) {
            to.named_exemplar(&series, exemplar.at.unwrap_or(moment), exemplar.value, pairs(exemplar.labels)?);
        }
        counts.added += u64::from(stored && *new);
        if stored && (own_time.is_none() || wishes.track_timestamps) {
            live.insert(entry.identity, Alive { entry: Arc::clone(entry), family: Arc::clone(family) });
        }
    }
    Ok(live)
}

/// The families of a text as they are kept.
fn families(found: &Exposition<'_>, memory: &mut Memory, to: &Builder<'_, '_>) -> Vec<Arc<Family<'static>>> {
    let kept = |family: &exposition::FamilyText<'_>| memory.family(&Family::new(family.kind, cut(&family.help, to), cut(&family.unit, to)));
    let families: Vec<_> = found.families.iter().map(kept).collect();
    let named = found.families.iter().zip(&families);
    memory.describe(named.map(|(text, family)| Described { name: text.name.to_string(), family: Arc::clone(family) }).collect());
    families
}

fn cut<'t>(text: &'t str, to: &Builder<'_, '_>) -> &'t str {
    &text[..text.floor_char_boundary(to.limits().name)]
}

fn name(entry: &Entry) -> &str {
    entry.labels.iter().find(|(name, _)| name == model::labels::METRIC_NAME).map_or("", |(_, name)| name)
}

/// The stored series behind a sample, and whether it is new.
type Behind = (Option<Arc<Entry>>, bool);

/// The stored series behind each sample; counts also where it fails, up to there.
fn entries(found: &Exposition<'_>, wishes: &Wishes, memory: &mut Memory, counts: &mut Counts) -> Result<Vec<Behind>, TextError> {
    let mut entries = Vec::with_capacity(found.samples.len());
    for sample in &found.samples {
        counts.scraped += 1;
        let behind = memory.entry(sample.series, || Ok::<_, TextError>(wishes.labelling.entry(&pairs(sample.series)?)?))?;
        counts.kept += u64::from(behind.0.is_some());
        let fits = wishes.sample_limit == 0 || counts.kept <= wishes.sample_limit;
        counts.added += u64::from(behind.0.is_some() && behind.1 && fits);
        entries.push(behind);
    }
    Ok(entries)
}

/// When each group of series began to count, in milliseconds, by the `_created` samples of OpenMetrics.
fn starts(found: &Exposition<'_>, entries: &[Behind]) -> HashMap<u64, i64> {
    let created = |(sample, (entry, _)): (&Sample<'_>, &Behind)| {
        let entry = entry.as_ref().filter(|entry| entry.created)?;
        let kind = found.families.get(sample.family?)?.kind;
        let counts = matches!(kind, FamilyKind::Counter | FamilyKind::Histogram | FamilyKind::Summary);
        let millis = sample.value * 1000.0;
        (counts && millis > 0.0 && millis < 9e18).then_some((entry.group, millis.round() as i64))
    };
    found.samples.iter().zip(entries).filter_map(created).collect()
}

/// How a scrape went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Went {
    /// Whether it succeeded.
    pub(crate) up: bool,
    /// How long it took.
    pub(crate) took: Duration,
    /// How many samples there were.
    pub(crate) counts: Counts,
    /// Bytes of the body, uncompressed; `None` where it was larger than allowed.
    pub(crate) body: Option<u64>,
}

/// Ends a scrape: staleness markers of series that had samples and now have none, and the series that tell how it went.
pub(crate) fn end(before: &Live, now: &Live, went: Went, wishes: &Wishes, at: Timestamp, mut to: Builder<'_, '_>) -> Result<Built, Full> {
    for (_, alive) in before.iter().filter(|(identity, _)| !now.contains_key(identity)) {
        mark(&alive.entry, &alive.family, at, &mut to)?;
    }
    report(went, wishes, at, &mut to)?;
    to.finish()
}

fn mark(entry: &Entry, family: &Family<'_>, at: Timestamp, to: &mut Builder<'_, '_>) -> Result<(), Full> {
    let Some((labels, identity)) = to.processed(&entry.labels, entry.identity) else { return Ok(()) };
    to.number(&Named { labels: &labels, identity, family }, at.millis(), 0, f64::from_bits(STALE_NAN)).map(|_| ())
}

/// The series that tell how scrapes went.
const REPORT: [(&str, &str, &str); 5] = [
    ("up", "Whether the last scrape succeeded.", ""),
    ("scrape_duration_seconds", "How long the last scrape took.", "seconds"),
    ("scrape_samples_scraped", "How many samples the target exposed.", ""),
    ("scrape_samples_post_metric_relabeling", "How many samples were left after metric relabelling.", ""),
    ("scrape_series_added", "How many series the scrape before did not have.", ""),
];

/// More of them, where `extra_scrape_metrics` asks for them.
const EXTRA: [(&str, &str, &str); 3] = [
    ("scrape_timeout_seconds", "How long a scrape may take.", "seconds"),
    ("scrape_sample_limit", "How many samples the target may expose; 0 is no limit.", ""),
    ("scrape_body_size_bytes", "The size of the last answer, uncompressed; -1 if it was too large.", "bytes"),
];

/// Those that a job wants.
fn reported(wishes: &Wishes) -> impl Iterator<Item = (&'static str, Family<'static>)> {
    let extra = EXTRA.into_iter().filter(|_| wishes.extra.is_some());
    REPORT.into_iter().chain(extra).map(|(name, help, unit)| (name, Family::new(FamilyKind::Gauge, help, unit)))
}

fn report(went: Went, wishes: &Wishes, at: Timestamp, to: &mut Builder<'_, '_>) -> Result<(), Full> {
    let Went { up, took, counts, body } = went;
    let values = [
        f64::from(u8::from(up)),
        took.as_secs_f64(),
        counts.scraped as f64,
        counts.kept as f64,
        counts.added as f64,
        wishes.extra.unwrap_or_default().as_secs_f64(),
        wishes.sample_limit as f64,
        body.map_or(-1.0, |bytes| bytes as f64),
    ];
    for ((name, family), value) in reported(wishes).zip(values) {
        to.number(&wishes.labelling.own(name).named(&family), at.millis(), 0, value)?;
    }
    Ok(())
}

/// Adds staleness markers of everything that a target had: it is gone. What a successor with the same labels has goes on:
/// `others` are the series of those.
pub(crate) fn bury(live: &Live, others: &[Arc<Live>], wishes: &Wishes, at: Timestamp, to: &mut Builder<'_, '_>) -> Result<(), Full> {
    for (_, alive) in live.iter().filter(|(identity, _)| !others.iter().any(|other| other.contains_key(identity))) {
        mark(&alive.entry, &alive.family, at, to)?;
    }
    if others.is_empty() {
        for (name, family) in reported(wishes) {
            mark(&wishes.labelling.own(name), &family, at, to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
