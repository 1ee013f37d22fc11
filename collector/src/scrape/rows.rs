//! What a scrape becomes: rows of its samples, staleness markers of series that are gone, and the series that tell how it went.
//! In: the text or why there is none. Out: one batch, and what to remember once it is durable. A text with anything wrong is
//! stored as a whole or not at all. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::time::Timestamp;

use super::exposition::{self, Exposition, ExpositionError, Format, Sample, pairs};
use super::memory::{Alive, Entry, LabelError, Labelling, Live, Memory};
use crate::admission::Full;
use crate::family::{Family, FamilyKind};
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
    let found = exposition::parse(text, format)?;
    counts.scraped = found.samples.len() as u64;
    memory.begin();
    let entries = entries(&found, wishes, memory)?;
    memory.tidy(found.samples.len());
    counts.kept = entries.iter().flatten().count() as u64;
    if wishes.sample_limit > 0 && counts.kept > wishes.sample_limit {
        return Err(TextError::TooManySamples(wishes.sample_limit));
    }
    let starts = if format == Format::OpenMetrics { starts(&found, &entries) } else { HashMap::new() };
    let families: Vec<Arc<Family<'static>>> = found
        .families
        .iter()
        .map(|family| memory.family(&Family::new(family.kind, cut(&family.help, to), cut(&family.unit, to))))
        .collect();
    let (unknown, mut live) = (Arc::new(Family::default()), Live::with_capacity(memory.live.len()));
    for (sample, entry) in found.samples.iter().zip(&entries) {
        let Some(entry) = entry else { continue };
        let family = sample.family.and_then(|family| families.get(family)).unwrap_or(&unknown);
        let own_time = sample.at.filter(|_| wishes.honor_timestamps);
        let moment = own_time.unwrap_or(at.millis());
        let start = if family.kind.of_numbers(name(entry)).1 { starts.get(&entry.group).copied().unwrap_or(0) } else { 0 };
        let series = entry.named(family);
        let stored = to.number(&series, moment, start, sample.value)?;
        if let Some(exemplar) = sample.exemplar.as_ref().filter(|_| stored) {
            to.named_exemplar(&series, exemplar.at.unwrap_or(moment), exemplar.value, pairs(exemplar.labels)?);
        }
        if stored && (own_time.is_none() || wishes.track_timestamps) {
            let alive = Alive { entry: Arc::clone(entry), family: Arc::clone(family) };
            let new = live.insert(entry.identity, alive).is_none() && !memory.live.contains_key(&entry.identity);
            counts.added += u64::from(new);
        }
    }
    Ok(live)
}

fn cut<'t>(text: &'t str, to: &Builder<'_, '_>) -> &'t str {
    &text[..text.floor_char_boundary(to.limits().name)]
}

fn name(entry: &Entry) -> &str {
    entry.labels.iter().find(|(name, _)| name == model::labels::METRIC_NAME).map_or("", |(_, name)| name)
}

/// The stored series behind each sample.
fn entries(found: &Exposition<'_>, wishes: &Wishes, memory: &mut Memory) -> Result<Vec<Option<Arc<Entry>>>, TextError> {
    let one = |sample: &Sample<'_>| memory.entry(sample.series, || Ok::<_, TextError>(wishes.labelling.entry(&pairs(sample.series)?)?));
    found.samples.iter().map(one).collect()
}

/// When each group of series began to count, in milliseconds, by the `_created` samples of OpenMetrics.
fn starts(found: &Exposition<'_>, entries: &[Option<Arc<Entry>>]) -> HashMap<u64, i64> {
    let created = |(sample, entry): (&Sample<'_>, &Option<Arc<Entry>>)| {
        let entry = entry.as_ref().filter(|entry| entry.created)?;
        let kind = found.families.get(sample.family?)?.kind;
        let counts = matches!(kind, FamilyKind::Counter | FamilyKind::Histogram | FamilyKind::Summary);
        let millis = sample.value * 1000.0;
        (counts && millis > 0.0 && millis < 9e18).then_some((entry.group, millis.round() as i64))
    };
    found.samples.iter().zip(entries).filter_map(created).collect()
}

/// Ends a scrape: staleness markers of series that had samples and now have none, and the series that tell how it went.
pub(crate) fn end(
    before: &Live,
    now: &Live,
    (up, took, counts): (bool, Duration, Counts),
    labelling: &Labelling,
    at: Timestamp,
    mut to: Builder<'_, '_>,
) -> Result<Built, Full> {
    mark_stale(before, now, at, &mut to)?;
    report(up, took, counts, labelling, at, &mut to)?;
    to.finish()
}

fn mark_stale(before: &Live, now: &Live, at: Timestamp, to: &mut Builder<'_, '_>) -> Result<(), Full> {
    for (_, alive) in before.iter().filter(|(identity, _)| !now.contains_key(identity)) {
        mark(&alive.entry, &alive.family, at, to)?;
    }
    Ok(())
}

fn mark(entry: &Entry, family: &Family<'_>, at: Timestamp, to: &mut Builder<'_, '_>) -> Result<(), Full> {
    to.number(&entry.named(family), at.millis(), 0, f64::from_bits(STALE_NAN)).map(|_| ())
}

/// The series that tell how scrapes went.
const REPORT: [(&str, &str, &str); 5] = [
    ("up", "Whether the last scrape succeeded.", ""),
    ("scrape_duration_seconds", "How long the last scrape took.", "seconds"),
    ("scrape_samples_scraped", "How many samples the target exposed.", ""),
    ("scrape_samples_post_metric_relabeling", "How many samples were left after metric relabelling.", ""),
    ("scrape_series_added", "How many series the scrape before did not have.", ""),
];

fn report(up: bool, took: Duration, counts: Counts, labelling: &Labelling, at: Timestamp, to: &mut Builder<'_, '_>) -> Result<(), Full> {
    let values = [f64::from(u8::from(up)), took.as_secs_f64(), counts.scraped as f64, counts.kept as f64, counts.added as f64];
    for ((name, help, unit), value) in REPORT.into_iter().zip(values) {
        let family = Family::new(FamilyKind::Gauge, help, unit);
        to.number(&labelling.own(name).named(&family), at.millis(), 0, value)?;
    }
    Ok(())
}

/// Adds staleness markers of everything that a target had: it is gone.
pub(crate) fn bury(live: &Live, labelling: &Labelling, at: Timestamp, to: &mut Builder<'_, '_>) -> Result<(), Full> {
    mark_stale(live, &Live::new(), at, to)?;
    for (name, help, unit) in REPORT {
        mark(&labelling.own(name), &Family::new(FamilyKind::Gauge, help, unit), at, to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
