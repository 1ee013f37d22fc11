//! A scraped text for the fuzz targets: what a target's loop does between the answer and the rows. Pure.

use std::sync::Arc;
use std::time::Duration;

use model::labels::Labels;
use model::tenant::TenantId;
use model::time::Timestamp;

use super::exposition::Format;
use super::memory::{Labelling, Live, Memory};
use super::relabel::Rule;
use super::rows::{Counts, Went, Wishes, end, fill};
use crate::rows::{Arrival, Builder, Built};

/// Scrapes the texts one after the other from one target; the batches.
pub(crate) fn scrapes(texts: &[&str], open_metrics: bool, arrival: Arrival<'_>) -> Vec<Result<Built, String>> {
    let format = if open_metrics { Format::OpenMetrics } else { Format::Text };
    let target: Labels = [("job", "j"), ("instance", "i")].into_iter().collect();
    let labelling = Labelling {
        tenant: TenantId::default(),
        target,
        honor: false,
        rules: Arc::new(Vec::<Rule>::new()),
        limits: super::LabelLimits::default(),
    };
    let wishes = Wishes { labelling, honor_timestamps: true, track_timestamps: true, sample_limit: 0, extra: None };
    let (mut memory, mut at) = (Memory::default(), arrival.at);
    let mut scrape = |text: &&str| {
        at = at.plus(Duration::from_secs(1));
        one(text, format, at, &wishes, &mut memory, arrival)
    };
    texts.iter().map(&mut scrape).collect()
}

fn one(text: &str, format: Format, at: Timestamp, wishes: &Wishes, memory: &mut Memory, arrival: Arrival<'_>) -> Result<Built, String> {
    let (mut counts, mut to) = (Counts::default(), Builder::new(arrival, None));
    let filled = fill(text, format, at, wishes, memory, &mut counts, &mut to);
    let (to, live, error) = match filled {
        Ok(live) => (to, live, None),
        Err(error) => (Builder::new(arrival, None), Live::new(), Some(error.to_string())),
    };
    let went = Went { up: error.is_none(), took: Duration::ZERO, counts, body: Some(text.len() as u64) };
    let built = end(&memory.live, &live, went, wishes, at, to).map_err(|_| "no memory".to_owned())?;
    memory.live = Arc::new(live);
    error.map_or(Ok(built), Err)
}
